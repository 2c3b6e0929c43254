// Owns `npm run sim`: many seeds over some workers, what struck and what was looked at, and the one command that replays a failure.
import { fork } from "node:child_process";
import { parseArgs } from "node:util";
import { FAULTS } from "./faults.ts";
import { INVARIANTS } from "./invariants.ts";
import type { Outcome } from "./seed.ts";

/** A run that is limited in time has so many seeds all the same: fewer say little of faults that are rare. */
const LEAST = 300;

const HELP = `npm run sim -- [--seeds 1000] [--from 1] [--workers 2]   many seeds
                [--limit S]                             after S seconds no more, once there are ${LEAST}
npm run sim -- --seed N [--trace]                       one, with all that happens
npm run sim -- --mutant NAME [--seeds 200]              with a defect put in, until a seed finds it; "all" for each of them`;

/** Each kind of fault must strike in so many of the seeds, and each seed must have so many events. */
const SHARE = 0.05;
const EVENTS = 500;
/** For what is young: a run leaves much behind, and what is collected less often is dead by then. */
const YOUNG_MB = 32;
/** Failures that are shown in full. */
const SHOWN = 10;

const { values: options } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    workers: { type: "string", default: "2" },
    limit: { type: "string", default: "Infinity" },
    mutant: { type: "string" },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (options.help) say(HELP);
else if (options.seed !== undefined) await one(Number(options.seed), options.trace, options.mutant);
else if (options.mutant !== undefined) await hunt(options.mutant, Number(options.from), Number(options.seeds));
else await many(Number(options.from), Number(options.seeds), Number(options.workers), 1_000 * Number(options.limit));

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function one(seed: number, trace: boolean, mutant: string | undefined): Promise<void> {
  const { runSeed } = await import("./seed.ts");
  const lines: string[] = [];
  const outcome = await runSeed(seed, trace ? (line) => lines.push(line) : undefined, mutant);
  // Written after the run, whose clock is not that of the terminal.
  for (const line of lines) say(line);
  for (const line of outcome.violations) say(`BROKEN ${line}`);
  say(`seed ${seed}: ${outcome.events} events, hash ${outcome.hash}, ${outcome.violations.length} broken`);
  say(`struck: ${list(outcome.struck)}`);
  say(`outcomes: ${list(outcome.outcomes)}`);
  process.exit(outcome.violations.length === 0 ? 0 : 1);
}

/** Fails unless each mutant is found within so many seeds, by a promise that it breaks. */
async function hunt(name: string, from: number, seeds: number): Promise<void> {
  const { MUTANTS } = await import("./mutants.ts");
  const { runSeed } = await import("./seed.ts");
  let missed = 0;
  for (const mutant of name === "all" ? Object.keys(MUTANTS) : [name]) {
    let [seed, found] = [from, undefined as string | undefined];
    for (; seed < from + seeds && found === undefined; seed++) {
      const { violations } = await runSeed(seed, undefined, mutant);
      found = violations.find((line) => MUTANTS[mutant]!.breaks.some((promise) => line.startsWith(`${promise}:`)));
    }
    if (found === undefined) missed += 1;
    say(`${mutant.padEnd(14)} ${found ? `found after ${seed - from} seeds: ${found.split("\n")[0]}` : "NOT FOUND"}`);
  }
  process.exit(missed === 0 ? 0 : 1);
}

async function many(from: number, seeds: number, workers: number, limitMs: number): Promise<void> {
  const began = performance.now();
  const outcomes: Outcome[] = [];
  let next = from;
  await Promise.all(
    Array.from({ length: workers }, async () => {
      const worker = fork(new URL("worker.ts", import.meta.url), {
        execArgv: ["--import", "tsx", `--max-semi-space-size=${YOUNG_MB}`],
      });
      await new Promise<void>((resolve, reject) => {
        const more = () => next < from + seeds && (next < from + LEAST || performance.now() - began < limitMs);
        const give = () => (more() ? worker.send({ seed: next++ }) : worker.disconnect());
        worker.on("message", (outcome: Outcome | "ready") => {
          if (outcome !== "ready") outcomes.push(outcome);
          give();
        });
        worker.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with code ${code}`))));
      });
    }),
  );
  const failures = report(outcomes.sort((a, b) => a.seed - b.seed));
  say(
    `${outcomes.length} seeds, ${sum(outcomes.map(({ events }) => events))} events, ${((performance.now() - began) / 1000).toFixed(0)} s`,
  );
  if (outcomes.length < seeds)
    say(`SKIPPED ${seeds - outcomes.length} of ${seeds} seeds: ${limitMs / 1000} s were over`);
  say(failures.length === 0 ? "sim: all promises kept" : `sim: FAILED\n${failures.join("\n")}`);
  process.exit(failures.length === 0 ? 0 : 1);
}

/** Prints two tables; gives what makes the run fail. */
function report(outcomes: readonly Outcome[]): string[] {
  const failures: string[] = [];
  say("fault          seeds   times");
  for (const kind of FAULTS) {
    const hit = outcomes.filter(({ struck }) => (struck[kind] ?? 0) > 0).length;
    say(
      `${kind.padEnd(12)} ${share(hit, outcomes).padStart(7)} ${String(sum(outcomes.map(({ struck }) => struck[kind] ?? 0))).padStart(7)}`,
    );
    if (hit < SHARE * outcomes.length) failures.push(`"${kind}" struck in too few seeds: ${hit} of ${outcomes.length}`);
  }
  say("\ninvariant                                        looked at    broken in seeds");
  for (const name of INVARIANTS) {
    const looked = sum(outcomes.map(({ checked }) => checked[name] ?? 0));
    const broken = outcomes.filter(({ violations }) => violations.some((line) => line.startsWith(`${name}:`)));
    say(`${name.padEnd(48)} ${String(looked).padStart(9)} ${String(broken.length).padStart(8)}`);
    if (looked === 0) failures.push(`"${name}" was never looked at`);
  }
  say("");
  for (const { seed, events } of outcomes)
    if (events < EVENTS) failures.push(`seed ${seed} has only ${events} events: it stood still`);
  const bad = outcomes.filter(({ violations }) => violations.length > 0);
  for (const { seed, violations } of bad.slice(0, SHOWN))
    failures.push(`seed ${seed}: ${violations[0]}\n  replay: npm run sim -- --seed ${seed} --trace`);
  if (bad.length > SHOWN)
    failures.push(`and ${bad.length - SHOWN} more seeds: ${bad.slice(SHOWN).map(({ seed }) => seed)}`);
  return failures;
}

function share(part: number, all: readonly unknown[]): string {
  return `${((100 * part) / all.length).toFixed(1)} %`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function list(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
