// The whole Llama: fused against plain, gradients against finite differences, examples kept apart, and the same logits as
// Hugging Face transformers from the same files.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { initialWeights, type Model, resolveArchitecture } from "../../../../services/device/engine/architecture.ts";
import { type Backend, plainBackend, wasmBackend } from "../../../../services/device/engine/backend.ts";
import { disposeBatch, makeBatch } from "../../../../services/device/engine/batch.ts";
import { tokenDataset } from "../../../../services/device/engine/dataset.ts";
import { logits, type Weights } from "../../../../services/device/engine/logits.ts";
import { Random } from "../../../../services/device/engine/random.ts";
import { readWeights } from "../../../../services/device/engine/safetensors.ts";
import { Trainer } from "../../../../services/device/engine/trainer.ts";

const wasm = await wasmBackend();
await tf.setBackend("cpu");
const cpu = plainBackend(tf);
const backends = { wasm, cpu };

const tied = {
  ...{ vocab_size: 23, hidden_size: 16, intermediate_size: 20, num_hidden_layers: 2, num_attention_heads: 4 },
  ...{ num_key_value_heads: 2, max_position_embeddings: 16, tie_word_embeddings: true, initializer_range: 0.3 },
};
const configs = {
  "tied embeddings": tied,
  "own head, biases, no shared keys": {
    ...tied,
    tie_word_embeddings: false,
    attention_bias: true,
    mlp_bias: true,
    num_key_value_heads: 4,
  },
};

const dataset = tokenDataset({
  train: [
    { ids: [1, 5, 7, 2, 9, 3], prompt: 3 },
    { ids: [4, 22], prompt: 0 },
    { ids: [1, 5, 5, 0, 11, 12, 13, 3], prompt: 4 },
  ],
});

function randomWeights(config: object, seed: number): Map<string, { shape: number[]; data: Float32Array }> {
  const { architecture, config: parsed } = resolveArchitecture("llama", config);
  const parameters = architecture.parameters(parsed);
  const values = initialWeights(parameters, new Random(seed));
  const random = new Random(seed + 1);
  // Gains and biases too, so that they cannot be left out unnoticed.
  return new Map(
    parameters.map(({ name, shape, start }) => {
      const data = values.get(name)!;
      if ("constant" in start) for (let i = 0; i < data.length; i++) data[i]! += 0.3 * random.normal();
      return [name, { shape, data }];
    }),
  );
}

/** Loss on all examples, and its gradient for each weight. */
function lossAndGradients({ tf, ops, name }: Backend, given: object, weights: Weights) {
  tf.setBackend(name);
  const { architecture, config } = resolveArchitecture("llama", given);
  const batch = makeBatch(tf, ops, dataset, "train", [0, 1, 2]);
  const names = [...weights.keys()];
  const constants = architecture.constants(tf, config);
  const inputs = names.map((key) => tf.tensor(weights.get(key)!.data, weights.get(key)!.shape as number[]));
  const { value, grads } = tf.valueAndGrads((...xs: any[]) => {
    const model: Model = { tf, ops, config, constants, weight: (key) => xs[names.indexOf(key)] };
    return ops.crossEntropy(architecture.forward(model, batch), batch.labels!, 0.1);
  })(inputs);
  const result = {
    loss: value.dataSync()[0]!,
    gradients: new Map(names.map((key, i) => [key, grads[i]!.dataSync() as Float32Array])),
  };
  disposeBatch(tf, batch);
  tf.dispose([value, ...grads, ...inputs, ...Object.values(constants)]);
  return result;
}

const largest = (values: ArrayLike<number>) =>
  Array.from(values).reduce((top, value) => Math.max(top, Math.abs(value)), 0);

for (const [what, config] of Object.entries(configs)) {
  test(`fused and plain give the same loss and gradients (${what})`, () => {
    const weights = randomWeights(config, 1);
    const before = tf.memory().numTensors;
    const [got, want] = [lossAndGradients(wasm, config, weights), lossAndGradients(cpu, config, weights)];
    assert.is(tf.memory().numTensors, before, "tensors left behind");
    assert.ok(Math.abs(got.loss / want.loss - 1) < 1e-5, `${got.loss} ${want.loss}`);
    for (const [name, gradient] of want.gradients) {
      const off = largest(gradient.map((value, i) => value - got.gradients.get(name)![i]!));
      assert.ok(off < 2e-5 * Math.max(0.01, largest(gradient)), `${name} is off by ${off}`);
    }
  });

  test(`gradients of the whole model agree with finite differences (${what})`, () => {
    const weights = randomWeights(config, 2);
    const { gradients } = lossAndGradients(wasm, config, weights);
    const random = new Random(3);
    for (const [name, { data }] of weights) {
      for (let probe = 0; probe < 3; probe++) {
        const at = random.below(data.length);
        const [kept, step] = [data[at]!, 3e-3];
        const moved = (by: number) => {
          data[at] = kept + by;
          return lossAndGradients(wasm, config, weights).loss;
        };
        const slope = (moved(step) - moved(-step)) / (2 * step);
        data[at] = kept;
        const gradient = gradients.get(name)![at]!;
        assert.ok(
          Math.abs(slope - gradient) < 2e-3 * Math.max(0.5, largest(gradients.get(name)!)),
          `${name}[${at}]: ${slope} ${gradient}`,
        );
      }
    }
  });
}

for (const [name, backend] of Object.entries(backends)) {
  test(`an example's outputs do not depend on those beside it (${name})`, () => {
    tf.setBackend(name);
    const weights = randomWeights(tied, 4);
    const { architecture, config } = resolveArchitecture("llama", tied);
    const together = tf.tidy(() => {
      const batch = makeBatch(tf, backend.ops, dataset, "train", [0, 1, 2]);
      const constants = architecture.constants(tf, config);
      const model: Model = {
        tf,
        ops: backend.ops,
        config,
        constants,
        weight: (key) => weights.get(key) && tf.tensor(weights.get(key)!.data, weights.get(key)!.shape),
      };
      return architecture.forward(model, { ids: batch.ids!, layout: batch.layout! }).dataSync();
    });
    const [third, before] = [[1, 5, 5, 0, 11, 12, 13], 5 + 1];
    const alone = logits(backend, tied, weights, third);
    const off = largest(alone.map((value, i) => value - together[before * 23 + i]!));
    assert.ok(off < 1e-4, `off by ${off}`);
  });
}

test("later tokens change nothing before them", () => {
  tf.setBackend("wasm");
  const weights = randomWeights(tied, 5);
  const [short, long] = [logits(wasm, tied, weights, [3, 1, 4]), logits(wasm, tied, weights, [3, 1, 4, 1, 5])];
  assert.ok(largest(short.map((value, i) => value - long[i]!)) < 1e-5);
});

test("configs, weights and ids that do not fit are refused by name", () => {
  const weights = randomWeights(tied, 6);
  const cases: [() => void, RegExp][] = [
    [() => logits(wasm, { ...tied, rope_scaling: { type: "linear", factor: 2 } }, weights, [1]), /rope_scaling/],
    [() => logits(wasm, { ...tied, hidden_act: "gelu" }, weights, [1]), /hidden_act/],
    [() => logits(wasm, { ...tied, num_attention_heads: 3 }, weights, [1]), /head_dim/],
    [() => logits(wasm, { ...tied, vocab_size: 24 }, weights, [1]), /model.embed_tokens.weight has shape \[23,16\]/],
    [() => logits(wasm, { ...tied, tie_word_embeddings: false }, weights, [1]), /lm_head.weight is missing/],
    [() => logits(wasm, tied, weights, [23]), /id 23/],
    [() => logits(wasm, tied, weights, new Array(17).fill(0)), /1 to 16 ids/],
  ];
  const before = tf.memory().numTensors;
  for (const [run, why] of cases) {
    try {
      run();
    } catch (error) {
      assert.ok(isSomaError(error, "EINVAL"), `threw ${error}`);
      assert.match((error as Error).message, why);
      continue;
    }
    assert.unreachable(`not refused for ${why}`);
  }
  assert.is(tf.memory().numTensors, before, "tensors left behind");
});

// ---- Hugging Face transformers, in the first Python that has it

const script = `
import json, sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32).eval()
with torch.no_grad():
    print(json.dumps(model(torch.tensor([json.loads(sys.argv[2])])).logits[0].flatten().tolist()))
`;
const pythons = [process.env.SOMA_PYTHON, "python3", "/usr/bin/python3"].filter((python) => python !== undefined);
// mlp_bias came with 4.41.
const needs = "import torch, safetensors, transformers; assert 'mlp_bias' in transformers.LlamaConfig().to_dict()";
const python = pythons.find((one) => spawnSync(one, ["-c", needs]).status === 0);

/** A model file after some steps large enough that gains and biases move. */
function trainedWeights(config: object): Uint8Array {
  tf.setBackend("wasm");
  const trainer = new Trainer(wasm, { config, steps: 10, batch: 3, lr: 0.05, warmup: 0 }, dataset);
  for (let step = 0; step < 10; step++) trainer.next();
  const file = trainer.weights();
  trainer.dispose();
  return file;
}

if (!python) {
  console.log(
    "SKIPPED comparing logits with transformers: no python3 imports it (4.41 or later) and torch; SOMA_PYTHON names one",
  );
} else {
  for (const [what, config] of Object.entries(configs)) {
    test(`transformers loads a model trained here and computes the same logits (${what})`, () => {
      const folder = mkdtempSync(path.join(os.tmpdir(), "soma-hf-"));
      try {
        const file = trainedWeights(config);
        const weights = readWeights(file);
        const ids = [1, 5, 7, 22, 9, 0, 3];
        writeFileSync(path.join(folder, "config.json"), JSON.stringify(resolveArchitecture("llama", config).config));
        writeFileSync(path.join(folder, "model.safetensors"), file);
        const { stdout, stderr } = spawnSync(python, ["-c", script, folder, JSON.stringify(ids)], { encoding: "utf8" });
        assert.ok(stdout.startsWith("["), stderr);
        const want = JSON.parse(stdout) as number[];
        for (const [name, backend] of Object.entries(backends)) {
          tf.setBackend(name);
          const got = logits(backend, config, weights, ids);
          assert.is(got.length, want.length);
          const off = largest(got.map((value, i) => value - want[i]!));
          assert.ok(off < 1e-4, `${name} is off by ${off}, logits reach ${largest(want)}`);
        }
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
}

test.run();
