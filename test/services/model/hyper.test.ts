import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSpec } from "../../../services/device/engine/spec.ts";
import { readHyper, trainingSpec } from "../../../services/model/hyper.ts";

const input = {
  architecture: "llama",
  config: {},
  hyper: {},
  defaults: { batch: 16, epochs: 2 },
  examples: 100,
  seed: 3,
};

test("what the caller names counts, defaults fill the rest", () => {
  const spec = trainingSpec({ ...input, hyper: readHyper({ lr: 0.5, steps: 7 }) });
  assert.equal([spec.lr, spec.steps, spec.batch, spec.seed], [0.5, 7, 16, 3]);
});

test("epochs become steps, whichever side names them", () => {
  assert.is(trainingSpec(input).steps, Math.ceil((2 * 100) / 16));
  assert.is(trainingSpec({ ...input, defaults: { batch: 16, steps: 5 }, hyper: { epochs: 1 } }).steps, 7);
  assert.is(trainingSpec({ ...input, hyper: { steps: 3 } }).steps, 3);
});

test("a batch is never larger than what there is, a warm-up never longer than a quarter", () => {
  const spec = trainingSpec({ ...input, examples: 4, hyper: { steps: 20, warmup: 500 } });
  assert.equal([spec.batch, spec.warmup], [4, 5]);
});

test("the device takes every spec that comes out of here", () => {
  const all = {
    ...{
      optimizer: "sgd",
      lr: 0.1,
      schedule: "constant",
      floor: 0,
      warmup: 1,
      epochs: 3,
      batch: 4,
      examples: 9,
      clip: 0,
    },
    ...{ weightDecay: 0, beta1: 0.5, beta2: 0.6, epsilon: 1e-6, momentum: 0.9, evaluateEvery: 2, patience: 1 },
  };
  const parsed = parseSpec(trainingSpec({ ...input, hyper: readHyper(all) }));
  assert.equal([parsed.optimizer, parsed.momentum, parsed.patience], ["sgd", 0.9, 1]);
});

test("what is unknown or wrong is named", () => {
  assert.throws(() => readHyper({ learningrate: 1 }), /learningrate.*known are.*lr/s);
  assert.throws(() => readHyper({ lr: -1 }), /hyper\.lr/);
  assert.throws(() => readHyper({ steps: 1, epochs: 1 }), /not both/);
  assert.throws(() => trainingSpec({ ...input, examples: 0 }), /nothing to train on/);
});

test.run();
