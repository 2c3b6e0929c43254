// Owns `npm test`: types, lint, import rules, then every test file in a process of its own; the last line is "N passed, N failed".
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** A file that takes longer hangs. */
const FILE_MS = 600_000;
const TSX = ["--import", "tsx"];

interface Outcome {
  name: string;
  passed: number;
  failed: number;
  ms: number;
  output: string;
}

/** Checks that are programs: each counts as one test. */
const CHECKS: [string, string, string[]][] = [
  ["types", process.execPath, ["node_modules/typescript/bin/tsc", "--noEmit"]],
  ["lint", process.execPath, ["node_modules/@biomejs/biome/bin/biome", "check", "."]],
  ["dead code", process.execPath, ["node_modules/knip/bin/knip.js", "--no-progress"]],
];

/** Programs started by tests find SOMA_HOME here and never in the person's own directory. */
const scratch = mkdtempSync(join(tmpdir(), "soma-tests-"));

function run(name: string, command: string, args: string[]): Promise<Outcome> {
  const began = performance.now();
  // A group of its own, so that a hung file is ended with all that it started.
  const child = spawn(command, args, {
    cwd: ROOT,
    detached: true,
    env: { ...process.env, SOMA_HOME: scratch, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
  let output = "";
  let hung = false;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const timer = setTimeout(() => {
    hung = true;
    process.kill(-child.pid!, "SIGKILL");
  }, FILE_MS);
  return new Promise((resolve) => {
    child.on("close", (code) => {
      clearTimeout(timer);
      const count = (what: string) => Number(new RegExp(`^\\s*${what}:\\s+(\\d+)`, "m").exec(output)?.[1] ?? 0);
      const [total, passed] = [count("Total"), count("Passed")];
      const isCheck = CHECKS.some(([check]) => check === name);
      // A test file that ran no test, hung or died has failed, whatever it counted.
      const broken = hung || code !== 0 || (!isCheck && total === 0);
      const failed = Math.max(total - passed, broken ? 1 : 0);
      resolve({
        name,
        passed: isCheck && !broken ? 1 : passed,
        failed,
        ms: performance.now() - began,
        output: hung ? `${output}\nended after ${FILE_MS / 1000} s` : output,
      });
    });
  });
}

function testFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

function report({ name, passed, failed, ms, output }: Outcome): void {
  process.stdout.write(
    `${failed === 0 ? "ok  " : "FAIL"} ${name}  ${passed} passed${failed ? `, ${failed} failed` : ""}  ${(ms / 1000).toFixed(1)} s\n`,
  );
  for (const line of output.split("\n")) if (/SKIPPED/.test(line)) process.stdout.write(`     ${line.trim()}\n`);
  if (failed > 0)
    process.stdout.write(
      `${output
        .trimEnd()
        .split("\n")
        .slice(-80)
        .map((line) => `     ${line}`)
        .join("\n")}\n`,
    );
}

const only = process.argv.slice(2);
const files = testFiles(join(ROOT, "test")).filter(
  (file) => only.length === 0 || only.some((part) => file.includes(part)),
);
/** Those that boot everything and measure time, or keep both cores busy: alone, after the others, which share the cores two by two. */
const ALONE = /^test\/(system|chaos|compose)|seeds/;
const alone = files.filter((file) => ALONE.test(file));
const queue = files.filter((file) => !alone.includes(file));
const outcomes: Outcome[] = [];
const began = performance.now();

async function worker(): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    let outcome = await run(file, process.execPath, [...TSX, file]);
    if (outcome.failed > 0) {
      report(outcome);
      // A machine that was too busy is not a defect, but is said: the same file once more.
      process.stdout.write(`AGAIN ${file}\n`);
      outcome = await run(file, process.execPath, [...TSX, file]);
    }
    outcomes.push(outcome);
    report(outcome);
  }
}

for (const [name, command, args] of only.length === 0 ? CHECKS : []) {
  const outcome = await run(name, command, args);
  outcomes.push(outcome);
  report(outcome);
}
await Promise.all([worker(), worker()]);
queue.push(...alone);
await worker();
rmSync(scratch, { recursive: true, force: true });
const sum = (key: "passed" | "failed") => outcomes.reduce((total, outcome) => total + outcome[key], 0);
process.stdout.write(
  `\n${outcomes.length} files in ${((performance.now() - began) / 1000).toFixed(0)} s\n${sum("passed")} passed, ${sum("failed")} failed\n`,
);
process.exit(sum("failed") === 0 && outcomes.length > 0 ? 0 : 1);
