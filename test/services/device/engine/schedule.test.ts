// Learning rates over a run.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { learningRate } from "../../../../services/device/engine/schedule.ts";

const spec = { schedule: "cosine", lr: 0.1, warmup: 4, steps: 100, floor: 0.2 } as const;

test("warm-up rises evenly to the peak", () => {
  const rates = [0, 1, 2, 3, 4].map((step) => learningRate(spec, step));
  for (const [i, want] of [0.025, 0.05, 0.075, 0.1, 0.1].entries())
    assert.ok(Math.abs(rates[i]! - want) < 1e-12, `${i}`);
});

test("cosine falls all the way from the peak to the floor", () => {
  const rates = Array.from({ length: 96 }, (_, i) => learningRate(spec, 4 + i));
  for (let i = 1; i < rates.length; i++) assert.ok(rates[i]! < rates[i - 1]!, `step ${4 + i}`);
  assert.ok(Math.abs(rates.at(-1)! - 0.02) < 1e-12);
  assert.ok(Math.abs(learningRate({ ...spec, warmup: 0, steps: 101 }, 50) - 0.06) < 1e-12, "half way");
});

test("constant stays, and a run of one step has a rate", () => {
  assert.is(learningRate({ ...spec, schedule: "constant" }, 99), 0.1);
  assert.is(learningRate({ ...spec, steps: 1, warmup: 0 }, 0), 0.1);
});

test.run();
