// That a seed replays exactly: in this process, in another one, and whatever ran before it.
import { fork } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Outcome, runSeed } from "./seed.ts";

test("a seed replays exactly, also after another one, and another seed does not", async () => {
  const first = await runSeed(7);
  const other = await runSeed(8);
  const again = await runSeed(7);
  assert.equal(again, first, "the same events in the same order, to the last figure");
  assert.is.not(other.hash, first.hash);
  assert.ok(first.events >= 500 && other.events >= 500);
  assert.equal([...first.violations, ...other.violations], []);
});

test("processes that run beside each other, in another order, see the same", async () => {
  const seeds = [1, 2, 3, 4];
  const [one, two] = await Promise.all([elsewhere(seeds), elsewhere([...seeds].reverse())]);
  assert.equal(one, two.reverse());
});

/** What a worker of `npm run sim` makes of these seeds. */
function elsewhere(seeds: readonly number[]): Promise<Outcome[]> {
  const worker = fork(new URL("worker.ts", import.meta.url), { execArgv: ["--import", "tsx"] });
  const outcomes: Outcome[] = [];
  return new Promise((resolve, reject) => {
    worker.on("message", (outcome: Outcome | "ready") => {
      if (outcome !== "ready") outcomes.push(outcome);
      if (outcomes.length < seeds.length) return worker.send({ seed: seeds[outcomes.length] });
      worker.disconnect();
      resolve(outcomes);
    });
    worker.on("error", reject);
    worker.on("exit", (code) => reject(new Error(`the worker ended with code ${code}`)));
  });
}

test.run();
