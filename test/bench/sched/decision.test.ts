// The scheduler's decision with 10,000 calls queued, held to ten times the bench's goal: a busy machine must not fail it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { measureDecision } from "../../../bench/sched/decision.ts";
import { deviation } from "../../../bench/sched/fairness.ts";
import { jain, percentile } from "../../../bench/sched/timing.ts";
import { agents } from "../../../bench/sched/workload.ts";

test("one of 10,000 queued calls is chosen within ten times the goal of 50 us", () => {
  const { each } = measureDecision(10_000, 60);
  assert.ok(each > 0 && each <= 500, `${each} us`);
});

test("the bench's agents are the same each time", () => {
  assert.equal(agents(20), agents(20));
  assert.equal(agents(40).slice(0, 20), agents(20));
});

test("the bench's statistics say what they are called", () => {
  assert.is(jain([5, 5, 5]), 1);
  assert.is(jain([1, 0, 0, 0]), 0.25);
  assert.is(percentile([4, 1, 3, 2], 0.5), 2);
  assert.is(percentile([4, 1, 3, 2], 0.95), 4);
  assert.is(deviation([10, 20, 40], [1, 2, 4]), 0);
  assert.ok(Math.abs(deviation([20, 20], [1, 3]) - 1) < 1e-9);
});

test.run();
