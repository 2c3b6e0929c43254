// Owns terminals for tests: a program started under a pseudo terminal of its own.
import { spawnSync } from "node:child_process";

const PYTHON = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/** The command that gives a program a terminal of its own, if this machine has one. */
export function terminal(program: string[]): string[] | undefined {
  if (process.platform === "win32") return undefined;
  const quoted = program.map((word) => `'${word}'`).join(" ");
  const candidates = (inner: string[], text: string) => [
    ["script", "-qefc", text, "/dev/null"],
    ["python3", "-c", PYTHON, ...inner],
  ];
  const works = candidates(["true"], "true").findIndex(
    ([command, ...args]) =>
      spawnSync(command!, args, { stdio: ["pipe", "ignore", "ignore"], timeout: 10_000 }).status === 0,
  );
  return candidates(program, quoted)[works];
}
