import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Measured } from "../../../../services/model/evaluate.ts";
import { type Check, decide } from "../../../../services/model/rollout/gate.ts";

function measured(exactMatch: number, loss: number): Measured {
  const figure = (value: number) => ({ value, low: value - 0.1, high: value + 0.1 });
  const [chrf, answerMs] = [figure(50), figure(20)];
  return {
    cases: 40,
    figures: { exactMatch: figure(exactMatch), loss: figure(loss), perplexity: figure(Math.exp(loss)), chrf, answerMs },
  };
}
const check = (more: Partial<Check>): Check => ({ metric: "exactMatch", split: "test", limit: 200, ...more });

test("a figure is held to a least and a most, and says so", () => {
  const passed = decide(check({ min: 0.5 }), measured(0.6, 1));
  assert.equal([passed.passed, passed.why, passed.low], [true, "0.6 >= 0.5", 0.5]);
  const failed = decide(check({ metric: "loss", max: 0.9 }), measured(0.6, 1));
  assert.equal([failed.passed, failed.why], [false, "1 is not <= 0.9"]);
});

test("it is held to what is there now, less or more as the metric is", () => {
  const worse = check({ worse: 0.1 });
  assert.is(decide(worse, measured(0.55, 1), measured(0.6, 1)).passed, true);
  assert.is(decide(worse, measured(0.53, 1), measured(0.6, 1)).passed, false);
  const loss = check({ metric: "loss", worse: 0.1 });
  assert.is(decide(loss, measured(0, 1.09), measured(0, 1)).passed, true);
  assert.match(decide(loss, measured(0, 1.2), measured(0, 1)).why, /^1\.2 is not <= 1\.1 \(now 1\)$/);
  assert.is(decide(worse, measured(0.1, 1)).why, "0.1 is the first");
});

test("a check that cannot fail is refused", () => {
  assert.throws(() => decide(check({}), measured(1, 1)), /can not fail/);
});

test.run();
