// What is over stops and gives its memory back, and training makes way, each held to ten times the bench's goal: a busy machine must not fail it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { median } from "../../../bench/figures.ts";
import { type How, measureEnd } from "../../../bench/sched/ends.ts";
import { startSystem } from "../../../bench/sched/system.ts";
import { measureTraining } from "../../../bench/sched/training.ts";
import { BLOCK_BYTES } from "../../../bench/sched/workload.ts";

let system: Awaited<ReturnType<typeof startSystem>>;
test.before(async () => {
  system = await startSystem(256 * BLOCK_BYTES);
});
test.after(() => system.stop());

for (const how of ["deadline", "cancel"] as How[])
  test(`a ${how} is told, and gives the blocks back while others go on, within ten times 250 ms`, async () => {
    const { told, freed, quantum } = await measureEnd(system, how);
    console.log(`told after ${told.toFixed(0)} ms, free after ${freed.toFixed(0)}, a quantum is ${quantum.toFixed(0)}`);
    assert.ok(told <= 2_500 && freed <= 2_500, `${told} and ${freed} ms`);
  });

test("a training beside grows the time to first token by no more than ten times a quarter, and goes on meanwhile", async () => {
  const { alone, beside, steps } = await measureTraining(system, 1, 1, 3);
  const growth = median(beside.flat()) / median(alone.flat()) - 1;
  console.log(`${(100 * growth).toFixed(0)} % more, ${steps} steps meanwhile`);
  assert.ok(growth <= 2.5, `${growth}`);
  assert.ok(steps > 0, "it took what was left over");
});

test.run();
