import { encode } from "@msgpack/msgpack";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { randomVectors, readVectors } from "../../../services/model/vectors.ts";

const shape = { rows: 3, width: 2, outputs: 2 };

test("numbers and their bytes mean the same", () => {
  const features = [1, 2, 3, 4, 5, 6];
  const plain = readVectors(encode({ features, targets: [0, 1, 0], shape }));
  const bytes = new Uint8Array(Float32Array.from(features).buffer);
  assert.equal(readVectors(encode({ features: bytes, targets: [0, 1, 0], shape })), plain);
  assert.equal(plain.splits.train.features, Float32Array.from(features));
  assert.equal(plain.splits.train.labels, Int32Array.of(0, 1, 0));
});

test("values instead of classes are rows of outputs", () => {
  const targets = [1, 2, 3, 4, 5, 6];
  const { splits } = readVectors(encode({ features: targets, targets, shape: { ...shape, classes: false } }));
  assert.equal(splits.train.targets, Float32Array.from(targets));
  assert.is(splits.train.labels, undefined);
});

test("from twenty rows on every tenth one validates, and none is in both", () => {
  const features = Array.from({ length: 40 }, (_, i) => i);
  const { splits } = readVectors(
    encode({ features, targets: features.map(() => 0), shape: { rows: 40, width: 1, outputs: 1 } }),
  );
  assert.equal([...splits.validation.features], [9, 19, 29, 39]);
  assert.is(splits.train.features.length, 36);
});

test("what is wrong is said", () => {
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array([0xc1]), /not MessagePack/],
    [encode({ features: [1] }), /features, targets, shape/],
    [encode({ features: [1], targets: [0, 1, 0], shape }), /features has 1 numbers, its shape says 6/],
    [encode({ features: [1, 2, 3, 4, 5, 6], targets: [0, 2, 0], shape }), /class numbers from 0 to 1/],
    [encode({ features: new Uint8Array(5), targets: [0, 1, 0], shape }), /whole f32s/],
  ];
  for (const [bytes, message] of cases) assert.throws(() => readVectors(bytes), message);
});

test("random numbers are those of their seed", () => {
  const made = randomVectors(50, 4, 3, 7);
  assert.equal(made, randomVectors(50, 4, 3, 7));
  assert.not.equal(made.splits.train.features, randomVectors(50, 4, 3, 8).splits.train.features);
  assert.ok(made.splits.train.labels!.every((label) => label >= 0 && label < 3));
});

test.run();
