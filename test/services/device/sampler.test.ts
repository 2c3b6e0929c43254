import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { best, type SampleSettings, sample, uniform } from "../../../services/device/sampler.ts";

const off: SampleSettings = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 5 };
const pick = (logits: number[], settings: Partial<SampleSettings>, history: number[] = [], position = 3) =>
  sample(Float32Array.from(logits), { ...off, ...settings }, new Set(history), position);

/** What may be chosen, written in the slow and obvious way: rank everything, then cut. */
function survivors(logits: number[], settings: SampleSettings, history: number[]): Map<number, number> {
  const penalised = logits.map((l, id) =>
    !history.includes(id) ? l : l < 0 ? l * settings.repetitionPenalty : l / settings.repetitionPenalty,
  );
  let ids = (settings.allowed ? [...settings.allowed] : [...logits.keys()]).sort(
    (a, b) => penalised[b]! - penalised[a]! || a - b,
  );
  if (settings.topK) ids = ids.slice(0, settings.topK);
  const weights = ids.map((id) => Math.exp((penalised[id]! - penalised[ids[0]!]!) / settings.temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  let sum = 0;
  const kept = ids.filter((_, i) => {
    const before = sum;
    sum += weights[i]! / total;
    return settings.topP === 1 || i === 0 || before < settings.topP;
  });
  const alive = kept.filter((_, i) => weights[i]! >= settings.minP);
  const mass = alive.reduce((a, id) => a + weights[ids.indexOf(id)]!, 0);
  return new Map(alive.map((id) => [id, weights[ids.indexOf(id)]! / mass]));
}

// Multiples of 1/4, so that ties occur and penalties are exact in single precision.
const logits = fc.array(
  fc.integer({ min: -20, max: 20 }).map((n) => n / 4),
  { minLength: 2, maxLength: 40 },
);

test("temperature 0 takes the likeliest id, the lowest among equals", () => {
  assert.is(pick([1, 5, 2, 5], { temperature: 0 }), 1);
  assert.is(pick([1, 5, 2, 5], { temperature: 0, allowed: [3, 2] }), 3);
  assert.is(pick([1, 5, 2, 5], { temperature: 0, allowed: [3, 1] }), 1);
  assert.is(pick([5, 4, 1], { temperature: 0, repetitionPenalty: 2 }, [0]), 1);
  assert.is(pick([-5, -4, -9], { temperature: 0, repetitionPenalty: 2 }, [1, 1]), 0);
});

test("only ids that survive penalty, mask, top-k, top-p and min-p are chosen", () => {
  fc.assert(
    fc.property(
      logits,
      fc.record({
        temperature: fc.constantFrom(0.5, 1, 3),
        topK: fc.constantFrom(0, 1, 3, 10),
        // No cumulative share hits these to the last bit.
        topP: fc.constantFrom(1, 0.90123, 0.50123, 0.10123),
        minP: fc.constantFrom(0, 0.05, 0.9),
        repetitionPenalty: fc.constantFrom(1, 2),
        seed: fc.nat(),
      }),
      fc.boolean(),
      (values, settings, masked) => {
        const allowed = masked ? [...values.keys()].filter((id) => id % 2 === 0) : undefined;
        const history = [0, 1];
        const expected = survivors(values, { ...settings, allowed }, history);
        for (let position = 0; position < 20; position++) {
          const id = pick(values, { ...settings, allowed }, history, position);
          assert.ok(expected.has(id), `${id} is not among ${[...expected.keys()]}`);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("over many positions each id comes as often as its share", () => {
  const values = [2, 1, 0.5, 0, -1, -8, 1.5];
  for (const settings of [{}, { topK: 4 }, { topP: 0.8 }, { minP: 0.2 }, { temperature: 2, topK: 5, topP: 0.9 }]) {
    const expected = survivors(values, { ...off, ...settings }, []);
    const counts = values.map(() => 0);
    const draws = 20_000;
    for (let position = 0; position < draws; position++) counts[pick(values, settings, [], position)]!++;
    for (const [id, count] of counts.entries()) {
      const share = expected.get(id) ?? 0;
      // Five standard deviations; the seed is fixed, so this either always passes or never.
      assert.ok(Math.abs(count / draws - share) <= 5 * Math.sqrt((share * (1 - share)) / draws), `${id}: ${count}`);
    }
  }
});

test("the choice depends on seed and position only", () => {
  const values = Array.from({ length: 50 }, (_, i) => Math.sin(i));
  const run = (seed: number) => Array.from({ length: 30 }, (_, position) => pick(values, { seed }, [], position));
  assert.equal(run(1), run(1));
  assert.not.equal(run(1), run(2));
  assert.ok(new Set(run(1)).size > 10);
});

test("random numbers are uniform and independent between seeds and positions", () => {
  const bins = new Array<number>(20).fill(0);
  let product = 0;
  const count = 40_000;
  for (let i = 0; i < count; i++) {
    const [a, b] = [uniform(i % 200, Math.floor(i / 200)), uniform((i % 200) + 1, Math.floor(i / 200))];
    assert.ok(a >= 0 && a < 1);
    bins[Math.floor(a * 20)]!++;
    product += (a - 0.5) * (b - 0.5);
  }
  for (const bin of bins) assert.ok(Math.abs(bin - count / 20) < 5 * Math.sqrt(count / 20), `${bins}`);
  assert.ok(Math.abs(product / count) < 5 / (12 * Math.sqrt(count)), `correlated: ${product / count}`);
});

test("best ranks as a full sort does", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 400 }),
      fc.integer({ min: 1, max: 30 }),
      (values, count) => {
        const expected = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b).slice(0, count);
        assert.equal(best(Float32Array.from(values), undefined, count), expected);
      },
    ),
  );
});

test.run();
