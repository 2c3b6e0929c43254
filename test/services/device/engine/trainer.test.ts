// A training run in one thread: it learns, resumes bit for bit, keeps no tensors, stops when it must.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { type Backend, plainBackend, wasmBackend } from "../../../../services/device/engine/backend.ts";
import { type Dataset, tokenDataset } from "../../../../services/device/engine/dataset.ts";
import { predict } from "../../../../services/device/engine/logits.ts";
import { checkMemory, estimateMemory } from "../../../../services/device/engine/memory.ts";
import { Random } from "../../../../services/device/engine/random.ts";
import { type Progress, runTraining } from "../../../../services/device/engine/run.ts";
import { readWeights } from "../../../../services/device/engine/safetensors.ts";
import { parseSpec, type TrainSpecInput } from "../../../../services/device/engine/spec.ts";
import { Trainer } from "../../../../services/device/engine/trainer.ts";

const backend = await wasmBackend();

const config = {
  ...{ vocab_size: 40, hidden_size: 24, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, max_position_embeddings: 32, tie_word_embeddings: true },
};
const random = new Random(8);
const text = (length: number) => Array.from({ length }, () => 4 + random.below(36));
const examples = (n: number) => {
  return Array.from({ length: n }, () => ({
    ids: [1, ...text(2 + random.below(5)), 2, ...text(1 + random.below(8)), 3],
    prompt: 4,
  }));
};
const texts = tokenDataset({ train: examples(20), validation: examples(6) });

// Three classes of points on rings around the origin.
function rings(n: number) {
  const labels = Int32Array.from({ length: n }, (_, i) => i % 3);
  const features = new Float32Array(2 * n);
  for (let i = 0; i < n; i++) {
    const [radius, angle] = [1 + labels[i]! + 0.1 * random.normal(), 2 * Math.PI * random.uniform()];
    features.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * i);
  }
  return { features, labels, weights: new Float32Array(n).fill(1) };
}
const points: Dataset = {
  kind: "vectors",
  width: 2,
  outputs: 3,
  splits: { train: rings(240), validation: rings(90), test: rings(0) },
};

const base = { config, steps: 60, batch: 8, lr: 5e-3, warmup: 5, evaluateEvery: 0 } satisfies TrainSpecInput;
const mlp = { architecture: "mlp", config: { layers: [2, 24, 3], activation: "tanh" }, batch: 32, lr: 0.02, warmup: 0 };

/** Runs to the end, or `until` steps, and disposes; what happened on the way comes along. */
function run(spec: TrainSpecInput, data: Dataset, checkpoint?: Uint8Array) {
  const before = tf.memory().numTensors;
  const trainer = new Trainer(backend, spec, data, checkpoint);
  const progress: Progress[] = [];
  const checkpoints: { bytes: Uint8Array; step: number }[] = [];
  let now = 0;
  const outcome = runTraining(trainer, true, {
    now: () => now++,
    progress: (report) => progress.push(report),
    checkpoint: (bytes, step) => checkpoints.push({ bytes, step }),
  });
  const weights = trainer.weights(outcome.weights);
  trainer.dispose();
  assert.is(tf.memory().numTensors, before, "tensors left behind");
  return { outcome, weights, progress, checkpoints, losses: progress.map(({ loss }) => loss) };
}

function refused(code: "EINVAL" | "ENOMEM", what: () => void, why: RegExp): void {
  try {
    what();
  } catch (error) {
    assert.ok(isSomaError(error, code), `threw ${error}`);
    assert.match((error as Error).message, why);
    return;
  }
  assert.unreachable(`not refused for ${why}`);
}

test("a llama learns its texts by heart", () => {
  const { outcome, losses } = run({ ...base, steps: 200, lr: 1e-2 }, texts);
  assert.ok(losses[0]! > 3.3, `began at ${losses[0]}`);
  assert.ok(losses.at(-1)! < 0.3, `ended at ${losses.at(-1)}`);
  assert.is(outcome.stopped, "steps");
});

for (const optimizer of ["adamw", "adam", "sgd"] as const) {
  test(`an mlp learns to tell rings apart (${optimizer})`, () => {
    const lr = optimizer === "sgd" ? 0.2 : 0.05;
    const { outcome, weights } = run({ ...mlp, optimizer, lr, momentum: 0.9, steps: 400 }, points);
    assert.ok(outcome.last.validationAccuracy! > 0.9, `accuracy ${outcome.last.validationAccuracy}`);
    const { features, labels } = points.splits.validation as ReturnType<typeof rings>;
    const y = predict(backend, mlp.config, readWeights(weights), features);
    const right = labels.filter((label, i) => {
      const row = [...y.subarray(3 * i, 3 * i + 3)];
      return row.indexOf(Math.max(...row)) === label;
    });
    assert.is(right.length / labels.length, outcome.last.validationAccuracy);
  });
}

test("an mlp fits values by squared error", () => {
  const split = (n: number) => {
    const features = Float32Array.from({ length: 2 * n }, () => random.normal());
    const targets = Float32Array.from({ length: n }, (_, i) => 2 * features[2 * i]! - features[2 * i + 1]! + 0.5);
    return { features, targets, weights: new Float32Array(n).fill(1) };
  };
  const data: Dataset = {
    kind: "vectors",
    width: 2,
    outputs: 1,
    splits: { train: split(64), validation: split(16), test: split(0) },
  };
  const spec = {
    ...mlp,
    config: { layers: [2, 1], loss: "squaredError" },
    lr: 0.1,
    steps: 300,
    schedule: "cosine",
    floor: 0,
  } as const;
  const { outcome, weights } = run(spec, data);
  assert.ok(outcome.last.validationLoss! < 1e-6, `loss ${outcome.last.validationLoss}`);
  assert.not("validationAccuracy" in outcome.last);
  const [w0, w1] = readWeights(weights).get("layers.0.weight")!.data;
  assert.ok(Math.abs(w0! - 2) < 1e-2 && Math.abs(w1! + 1) < 1e-2, `${w0} ${w1}`);
});

test("the same seed gives the same bits, another seed others", () => {
  const [a, b, c] = [1, 1, 2].map((seed) => run({ ...base, steps: 10, seed }, texts));
  assert.equal(a!.losses, b!.losses);
  assert.equal(a!.weights, b!.weights);
  assert.not.equal(a!.losses, c!.losses);
});

for (const [name, spec, data] of [
  ["llama, adamw", base, texts],
  ["mlp, sgd", { ...mlp, optimizer: "sgd", momentum: 0.9, steps: 60 }, points],
] as const) {
  test(`a resumed run goes on bit for bit (${name})`, () => {
    // Patience too: what it has seen must survive.
    const whole = run({ ...spec, evaluateEvery: 10, patience: 5 }, data);
    for (const { bytes, step } of whole.checkpoints.slice(0, 3)) {
      const resumed = run({ ...spec, evaluateEvery: 10, patience: 5 }, data, bytes);
      assert.equal(resumed.losses, whole.losses.slice(step), `after step ${step}`);
      assert.equal(resumed.weights, whole.weights);
      assert.equal(resumed.checkpoints.at(-1)!.bytes, whole.checkpoints.at(-1)!.bytes);
    }
  });
}

test("the reference operations on another backend give the same run", async () => {
  const losses = ({ tf, ops, name, numerics }: Backend) => {
    tf.setBackend(name);
    const trainer = new Trainer({ tf, ops, name, numerics }, { ...base, weightDecay: 0.1 }, texts);
    const reports = [1, 2, 3, 4, 5, 6].map(() => trainer.next());
    const { loss } = trainer.evaluate("validation");
    trainer.dispose();
    return [...reports.map((report) => report.loss), loss];
  };
  const got = losses(backend);
  await tf.setBackend("cpu");
  const want = losses(plainBackend(tf));
  await tf.setBackend("wasm");
  got.forEach((loss, i) => {
    assert.ok(Math.abs(loss - want[i]!) < 1e-4, `step ${i}: ${loss}, want ${want[i]}`);
  });
});

test("early stopping ends the run and returns the best weights", () => {
  // Random labels cannot be learnt, so the validation loss soon rises.
  const noise = (n: number) => ({ ...rings(n), labels: Int32Array.from({ length: n }, () => random.below(3)) });
  const data: Dataset = { ...points, splits: { train: noise(30), validation: noise(30), test: noise(0) } } as Dataset;
  const { outcome, progress, weights } = run({ ...mlp, steps: 2000, evaluateEvery: 5, patience: 3 }, data);
  assert.is(outcome.stopped, "patience");
  assert.ok(outcome.last.step < 2000);
  const best = Math.min(...progress.map((report) => report.validationLoss ?? Number.POSITIVE_INFINITY));
  assert.is(progress.at(-16)!.validationLoss, best, "three evaluations after the best");
  const { features, labels } = data.splits.validation as ReturnType<typeof rings>;
  const y = predict(backend, mlp.config, readWeights(weights), features);
  const loss = labels.reduce((sum, label, i) => {
    const row = [...y.subarray(3 * i, 3 * i + 3)];
    return sum + Math.log(row.reduce((total, value) => total + Math.exp(value), 0)) - row[label]!;
  }, 0);
  assert.ok(Math.abs(loss / labels.length - best) < 1e-5, `weights of loss ${loss / labels.length}, best was ${best}`);
});

test("a loss that is no number stops the run, keeps the last good weights and says so", () => {
  const spec = {
    ...mlp,
    config: { layers: [2, 8, 1], loss: "squaredError", activation: "relu" },
    optimizer: "sgd",
    schedule: "constant",
    clip: 0,
    steps: 500,
    evaluateEvery: 1,
  } as const;
  const split = (n: number) => ({
    features: Float32Array.from({ length: 2 * n }, () => random.normal()),
    targets: new Float32Array(n).fill(9),
    weights: new Float32Array(n).fill(1),
  });
  const data: Dataset = {
    kind: "vectors",
    width: 2,
    outputs: 1,
    splits: { train: split(32), validation: split(0), test: split(0) },
  };
  const { outcome, weights, checkpoints } = run({ ...spec, lr: 50 }, data);
  assert.is(outcome.stopped, "diverged");
  assert.match(outcome.last.note!, /not a number after step \d+: stopped, weights of step \d+ kept; try a lower lr/);
  assert.is(checkpoints.at(-1)!.step, outcome.last.step, "the checkpoint before the bad step");
  for (const { data } of readWeights(weights).values())
    assert.ok(data.every(Number.isFinite), "weights are not finite");
});

test("1000 steps keep no tensors and no memory", () => {
  const trainer = new Trainer(backend, { ...base, steps: 1000, batch: 2 }, texts);
  trainer.next();
  const { numTensors, numBytes } = tf.memory();
  const heap = () => (tf.backend() as any).wasm.HEAPU8.length as number;
  let settled = 0;
  for (let step = 1; step < 1000; step++) {
    trainer.next();
    if (step === 100) settled = heap();
    if (step % 100 === 0) trainer.evaluate("validation");
  }
  assert.is(tf.memory().numTensors, numTensors);
  assert.is(tf.memory().numBytes, numBytes);
  assert.is(heap(), settled, "the tensor memory grew");
  trainer.dispose();
});

/** The most bytes that `work` had allocated in the tensor memory at once. tf.memory() counts clones, which share bytes, twice. */
function peakOf(work: () => void): number {
  const { wasm } = tf.backend() as any;
  const { _malloc: malloc, _free: free } = wasm;
  const sizes = new Map<number, number>();
  let [live, peak] = [0, 0];
  wasm._malloc = (bytes: number) => {
    const at = malloc(bytes);
    sizes.set(at, bytes);
    peak = Math.max(peak, (live += bytes));
    return at;
  };
  wasm._free = (at: number) => {
    live -= sizes.get(at) ?? 0;
    sizes.delete(at);
    free(at);
  };
  try {
    work();
    return peak;
  } finally {
    Object.assign(wasm, { _malloc: malloc, _free: free });
  }
}

test("the memory estimate covers what is used, and is not far above", () => {
  const cases: [TrainSpecInput, Dataset][] = [
    [{ ...base, batch: 20, config: { ...config, hidden_size: 96, intermediate_size: 256, vocab_size: 500 } }, texts],
    [{ ...base, batch: 20, config: { ...config, tie_word_embeddings: false, num_hidden_layers: 5 } }, texts],
    [{ ...base, batch: 2, config: { ...config, num_hidden_layers: 1, vocab_size: 5000 } }, texts],
    [{ ...mlp, steps: 1, batch: 200, config: { layers: [2, 512, 512, 3] } }, points],
  ];
  for (const [spec, data] of cases) {
    let trainer: Trainer | undefined;
    const peak = peakOf(() => {
      trainer = new Trainer(backend, spec, data);
      trainer.next();
    });
    trainer!.dispose();
    const fixed = 24 * 2 ** 20;
    const estimate = estimateMemory(parseSpec(spec), data, 1).perWorker - fixed;
    assert.ok(estimate >= peak && estimate < 1.6 * peak, `estimated ${estimate}, used ${peak}`);
  }
});

test("a run that does not fit is refused with the figures before anything is allocated", () => {
  const spec = parseSpec(base);
  refused(
    "ENOMEM",
    () => checkMemory(spec, texts, 2, 30e6),
    /needs \d+ MB of 29 MB.*smaller batch.*fewer workers than 2/,
  );
  const huge = parseSpec({
    ...base,
    config: { ...config, vocab_size: 200000, hidden_size: 4096, intermediate_size: 16384 },
  });
  refused("ENOMEM", () => checkMemory(huge, texts, 1, 1e15), /MB in one worker/);
});

test("specs and checkpoints that do not fit are refused by name", () => {
  refused("EINVAL", () => new Trainer(backend, { ...base, lr: -1 }, texts), /training spec: lr/);
  refused("EINVAL", () => new Trainer(backend, { ...base, learningRate: 1 }, texts), /learningRate/);
  refused("EINVAL", () => new Trainer(backend, { ...base, architecture: "rnn" }, texts), /use llama or mlp/);
  refused(
    "EINVAL",
    () => new Trainer(backend, { ...base, config: { ...config, vocab_size: 9 } }, texts),
    /outside the vocabulary/,
  );
  const { checkpoints } = run({ ...base, steps: 1 }, texts);
  const { bytes } = checkpoints.at(-1)!;
  refused(
    "EINVAL",
    () => new Trainer(backend, { ...base, config: { ...config, hidden_size: 48 } }, texts, bytes),
    /of another model/,
  );
  refused(
    "EINVAL",
    () => new Trainer(backend, { ...base, optimizer: "sgd" }, texts, bytes.subarray(0, 900)),
    /fetch it again/,
  );
  refused(
    "EINVAL",
    () => new Trainer(backend, base, texts, new Trainer(backend, base, texts).weights()),
    /not a Soma checkpoint/,
  );
});

test.run();
