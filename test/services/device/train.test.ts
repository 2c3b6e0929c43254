// Training in threads: several replicas are one, a run can be held, ended and resumed, and failures come back as errors.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { encodeDataset, tokenDataset } from "../../../services/device/engine/dataset.ts";
import { Control, createShared, deal, Exchange } from "../../../services/device/engine/exchange.ts";
import { Random } from "../../../services/device/engine/random.ts";
import type { Progress } from "../../../services/device/engine/run.ts";
import { readWeights } from "../../../services/device/engine/safetensors.ts";
import type { TrainSpecInput } from "../../../services/device/engine/spec.ts";
import { startTraining, type TrainOptions } from "../../../services/device/train.ts";

const random = new Random(3);
const text = (length: number) => Array.from({ length }, () => 4 + random.below(36));
// Lengths and prompts differ, so that a replica's share of the tokens is never 1 / workers.
const examples = Array.from({ length: 24 }, () => {
  const prompt = text(1 + random.below(7));
  return { ids: [1, ...prompt, 2, ...text(1 + random.below(12)), 3], prompt: prompt.length + 2 };
});
const data = encodeDataset(tokenDataset({ train: examples, validation: examples.slice(0, 7) }));
const config = {
  ...{ vocab_size: 40, hidden_size: 24, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, max_position_embeddings: 32, tie_word_embeddings: true },
};
const spec = {
  config,
  steps: 20,
  batch: 7,
  lr: 5e-3,
  warmup: 5,
  evaluateEvery: 5,
  optimizer: "sgd",
  momentum: 0.5,
} satisfies TrainSpecInput;

/** Trains and keeps what was reported. */
async function run(settings: TrainSpecInput, options: TrainOptions = {}) {
  const progress: Progress[] = [];
  const checkpoints: { bytes: Uint8Array; step: number }[] = [];
  const result = await startTraining(settings, data, {
    progressMs: 0,
    onProgress: (report) => progress.push(report),
    onCheckpoint: (bytes, step) => checkpoints.push({ bytes, step }),
    ...options,
  });
  return { ...result, progress, checkpoints };
}

async function rejected(
  code: "EINVAL" | "ENOMEM" | "ECANCELED",
  promise: Promise<unknown>,
  why: RegExp,
): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isSomaError(error, code), `rejected with ${error}`);
    assert.match((error as Error).message, why);
    return;
  }
  assert.unreachable(`not rejected for ${why}`);
}

const whole = await run(spec);

test("one worker reports every step, its checkpoints and the result", () => {
  assert.equal(
    whole.progress.map(({ step }) => step),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  assert.equal(
    whole.checkpoints.map(({ step }) => step),
    [5, 10, 15, 20],
  );
  assert.is(whole.metrics.stopped, "steps");
  assert.ok(whole.metrics.validationLoss! > 0 && whole.metrics.tokensPerSecond > 0);
  assert.ok([...readWeights(whole.weights).values()].every((one) => one.data.every(Number.isFinite)));
});

test("however seldom reports are asked for, those of the first and each evaluated step come, before their checkpoint", async () => {
  const told: string[] = [];
  await startTraining({ ...spec, steps: 18 }, data, {
    progressMs: 1e9,
    onProgress: ({ step }) => told.push(`step ${step}`),
    onCheckpoint: (_, step) => told.push(`checkpoint ${step}`),
  });
  const evaluated = [5, 10, 15, 18].flatMap((step) => [`step ${step}`, `checkpoint ${step}`]);
  assert.equal(told, ["step 1", ...evaluated]);
});

for (const workers of [2, 3]) {
  test(`${workers} workers compute what one does on the whole batch`, async () => {
    const { weights, progress, metrics } = await run(spec, { workers });
    assert.is(metrics.workers, workers);
    for (const [i, { loss, gradNorm, validationLoss, tokens }] of progress.entries()) {
      const want = whole.progress[i]!;
      assert.is(tokens, want.tokens);
      assert.ok(Math.abs(loss - want.loss) < 1e-5, `loss ${loss}, want ${want.loss}`);
      assert.ok(Math.abs(gradNorm - want.gradNorm) < 1e-4 * want.gradNorm, `norm ${gradNorm}, want ${want.gradNorm}`);
      if (want.validationLoss !== undefined) assert.ok(Math.abs(validationLoss! - want.validationLoss) < 1e-5);
    }
    const mine = readWeights(weights);
    for (const [name, { data: want }] of readWeights(whole.weights)) {
      const off = Math.max(...mine.get(name)!.data.map((value, i) => Math.abs(value - want[i]!)));
      assert.ok(off < 1e-5, `${name} is off by ${off}`);
    }
  });
}

test("a stopped run leaves a checkpoint, from which it goes on bit for bit, by two workers too", async () => {
  const endless = { ...spec, schedule: "constant", steps: 1_000_000, optimizer: "adamw" } as const;
  const stop = new AbortController();
  const checkpoints: { bytes: Uint8Array; step: number }[] = [];
  const training = startTraining(endless, data, {
    workers: 2,
    progressMs: 0,
    signal: stop.signal,
    onCheckpoint: (bytes, step) => checkpoints.push({ bytes, step }),
    onProgress: () => stop.abort(),
  });
  await rejected("ECANCELED", training, /after step \d+: resume from its checkpoint/);
  const { bytes, step } = checkpoints.at(-1)!;
  const steps = step + 5;
  const want = await run({ ...endless, steps }, { workers: 2 });
  const rest = await run({ ...endless, steps }, { workers: 2, checkpoint: bytes });
  const losses = ({ progress }: { progress: Progress[] }) => progress.map(({ loss }) => loss);
  assert.equal(losses(rest), losses(want).slice(step));
  assert.equal(rest.weights, want.weights);
});

test("a replica whose neighbour died ends instead of waiting for it", () => {
  const shared = createShared(2, 3);
  new Control(shared).abort();
  const sum = () => new Exchange(0, shared).sum([Float32Array.of(1, 2, 3)], [1]);
  assert.throws(sum, (error: unknown) => isSomaError(error, "ECANCELED"));
});

test("a paused run waits, and ends when it is resumed", async () => {
  const steps: number[] = [];
  const training = startTraining({ ...spec, steps: 40 }, data, {
    progressMs: 0,
    onProgress: ({ step }) => steps.push(step),
  });
  training.pause();
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.equal(steps, [], "it ran although it was paused before its thread was up");
  training.resume();
  assert.is((await training).metrics.step, 40);
});

test("a failure in the workers comes back with its code, whoever failed first", async () => {
  await rejected(
    "EINVAL",
    startTraining(spec, data, { workers: 2, checkpoint: whole.weights }),
    /not a Soma checkpoint/,
  );
});

test("what cannot run is refused before a thread is started", async () => {
  await rejected("EINVAL", startTraining({ ...spec, steps: 0 }, data), /training spec: steps/);
  await rejected("EINVAL", startTraining(spec, data, { workers: 8 }), /8 workers cannot share a batch of 7/);
  await rejected("EINVAL", startTraining(spec, data.subarray(0, 100)), /fetch it again/);
  await rejected(
    "EINVAL",
    startTraining({ ...spec, config: { ...config, vocab_size: 30 } }, data),
    /outside the vocabulary/,
  );
  await rejected("ENOMEM", startTraining(spec, data, { budgetBytes: 1e6 }), /needs \d+ MB of 1 MB/);
  await rejected("ECANCELED", startTraining(spec, data, { signal: AbortSignal.abort() }), /before it began/);
});

test("examples are dealt so that each worker gets about the same number of rows, and none twice", () => {
  const rows = Array.from({ length: 50 }, () => 1 + random.below(60));
  const drawn = Int32Array.from({ length: 40 }, () => random.below(50));
  const shares = [0, 1, 2].map((rank) => deal(drawn, (e) => rows[e]!, rank, 3));
  assert.equal(shares.flatMap((share) => [...share]).sort(), [...drawn].sort());
  const loads = shares.map((share) => share.reduce((sum, e) => sum + rows[e]!, 0));
  assert.ok(Math.max(...loads) - Math.min(...loads) <= 60, loads.join());
});

test.run();
