// Owns the comparison with Python packages in tests: runs a script where they are installed, says why not elsewhere.
import { spawnSync } from "node:child_process";

/** Why Python cannot import these modules here, or undefined if it can. */
export function missing(...modules: string[]): string | undefined {
  const probe = spawnSync("python3", ["-c", `import ${modules.join(", ")}`], { encoding: "utf8" });
  if (probe.error) return "no python3";
  return probe.status === 0 ? undefined : `python3 cannot import ${modules.join(", ")}`;
}

/** Runs `script` with `input` as JSON on stdin; returns the JSON that it prints. */
export function python<T>(script: string, input: unknown, ...args: string[]): T {
  const run = spawnSync("python3", ["-c", script, ...args], { input: JSON.stringify(input), encoding: "utf8" });
  if (run.status !== 0) throw new Error(`python3 failed: ${run.stderr}`);
  return JSON.parse(run.stdout) as T;
}
