// The order of examples: how often each is seen, and that a saved place goes on alike.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Epochs } from "../../../../services/device/engine/epochs.ts";
import { Random } from "../../../../services/device/engine/random.ts";

test("equal weights: every example once in an epoch, each epoch in another order", () => {
  const epochs = new Epochs(new Float32Array(50).fill(0.3), 4);
  const [first, second] = [epochs.next(50), epochs.next(50)];
  const all = Array.from({ length: 50 }, (_, i) => i);
  assert.equal(
    [...first].sort((a, b) => a - b),
    all,
  );
  assert.equal(
    [...second].sort((a, b) => a - b),
    all,
  );
  assert.not.equal(first, second);
});

test("an example is drawn in proportion to its weight, within one draw an epoch", () => {
  const weights = fc.array(fc.oneof(fc.constant(0), fc.float({ min: Math.fround(0.1), max: 20, noNaN: true })), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(
      weights.filter((list) => list.some((weight) => weight > 0)),
      fc.nat(),
      (list, seed) => {
        const drawn = new Array<number>(list.length).fill(0);
        for (const e of new Epochs(Float32Array.from(list), seed).next(list.length)) drawn[e]!++;
        const mean = list.reduce((a, b) => a + b, 0) / list.length;
        drawn.forEach((count, e) => {
          assert.ok(
            Math.abs(count - list[e]! / mean) <= 1 + 1e-6,
            `${e} of weight ${list[e]} was drawn ${count} times`,
          );
          if (list[e] === 0) assert.is(count, 0);
        });
      },
    ),
    { seed: 11 },
  );
});

test("a rare example comes at last, though not in each epoch", () => {
  const weights = Float32Array.from({ length: 40 }, (_, i) => (i < 20 ? 10 : 1));
  const epochs = new Epochs(weights, 2);
  const drawn = new Array<number>(40).fill(0);
  for (const e of epochs.next(40 * 100)) drawn[e]!++;
  const each = drawn.slice(20);
  // 100 epochs of 40 draws, one in eleven of them for the twenty rare ones.
  assert.ok(
    each.every((count) => count > 2 && count < 45),
    each.join(),
  );
});

test("a saved place goes on with the same examples", () => {
  const weights = Float32Array.from({ length: 37 }, (_, i) => 1 + (i % 5));
  fc.assert(
    fc.property(fc.nat(200), fc.nat(0xffff), (before, seed) => {
      const whole = new Epochs(weights, seed);
      whole.next(before);
      const resumed = new Epochs(weights, JSON.parse(JSON.stringify(whole.state())));
      assert.equal(resumed.next(100), whole.next(100));
      assert.equal(resumed.state(), whole.state());
    }),
    { seed: 5, numRuns: 50 },
  );
});

test("the generator's numbers are uniform, normal, and depend on the seed", () => {
  const random = new Random(1);
  const n = 20000;
  const normal = Array.from({ length: n }, () => random.normal());
  const mean = normal.reduce((a, b) => a + b) / n;
  const variance = normal.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n;
  assert.ok(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.05, `mean ${mean}, variance ${variance}`);
  const bins = new Array<number>(10).fill(0);
  for (let i = 0; i < n; i++) bins[random.below(10)]!++;
  assert.ok(
    bins.every((count) => Math.abs(count - n / 10) < 200),
    bins.join(),
  );
  assert.is.not(new Random(1).uniform(), new Random(2).uniform());
  assert.is(new Random(random.state()).uniform(), random.uniform());
});

test.run();
