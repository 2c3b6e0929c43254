// The encoder here and the decoder of the device service are two programs for one form.
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeDataset, encodeDataset, tokenDataset } from "../../../services/device/engine/dataset.ts";
import { encodeTokens, encodeVectors, type TokenExample } from "../../../services/model/dataset.ts";

const example = fc
  .record({
    ids: fc.array(fc.nat(5000), { minLength: 2, maxLength: 12 }),
    at: fc.nat(),
    weight: fc.float({ min: 0, max: 9, noNaN: true }),
  })
  .map(({ ids, at, weight }): TokenExample => ({ ids, promptLength: at % ids.length, weight }));
const split = fc.array(example, { maxLength: 6 });

test("texts are encoded byte for byte as the device does it", () => {
  fc.assert(
    fc.property(fc.record({ train: split, validation: split, test: split }), (splits) => {
      const theirs = Object.fromEntries(
        Object.entries(splits).map(([name, list]) => [
          name,
          list.map(({ ids, promptLength, weight }) => ({ ids, prompt: promptLength, weight })),
        ]),
      );
      assert.equal(encodeTokens(splits), encodeDataset(tokenDataset(theirs)));
    }),
  );
});

test("vectors come out of the device's decoder as they went in", () => {
  const features = Float32Array.of(1, 2, 3, 4, 5, 6);
  const none = { features: new Float32Array(), labels: new Int32Array() };
  const splits = { train: { features, labels: Int32Array.of(0, 1) }, validation: none, test: none };
  const decoded = decodeDataset(encodeVectors(3, 2, splits));
  assert.is(decoded.kind, "vectors");
  assert.equal(decoded, {
    kind: "vectors",
    width: 3,
    outputs: 2,
    splits: {
      train: { ...splits.train, weights: Float32Array.of(1, 1) },
      validation: { ...none, weights: new Float32Array() },
      test: { ...none, weights: new Float32Array() },
    },
  });
});

test("rows that do not match their answers are refused", () => {
  const none = { features: new Float32Array(), targets: new Float32Array() };
  const train = { features: new Float32Array(6), targets: new Float32Array(3) };
  assert.throws(() => encodeVectors(3, 2, { train, validation: none, test: none }), /2 rows of 3/);
});

test.run();
