// Training through the bus: data comes as a blob, progress and checkpoints as chunks, weights go back as a blob.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { encodeDataset, tokenDataset } from "../../../services/device/engine/dataset.ts";
import { startRunning } from "../scheduler/running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

const config = {
  ...{ model_type: "llama", vocab_size: 32, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, head_dim: 8, intermediate_size: 32, max_position_embeddings: 32 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true, hidden_act: "silu" },
};

async function store(): Promise<string> {
  const examples = Array.from({ length: 16 }, (_, i) => ({ ids: [1, 2 + (i % 8), 3, 4 + (i % 4), 5], prompt: 1 }));
  const bytes = encodeDataset(tokenDataset({ train: examples, validation: examples.slice(0, 4) }));
  const stream = system.client.stream("memory.write", { size: bytes.length });
  await stream.upload([bytes]);
  return (await stream.result).blob;
}

test("a run reports its steps and gives weights, a checkpoint on the way", async () => {
  const spec = { config, steps: 30, batch: 4, evaluateEvery: 10, warmup: 2 };
  const stream = system.client.stream("device.train", { job: "j1", spec, data: await store() });
  const steps: number[] = [];
  const checkpoints: string[] = [];
  for await (const { step, checkpoint } of stream) {
    steps.push(step);
    if (checkpoint) checkpoints.push(checkpoint);
  }
  const output = await stream.result;
  assert.is(output.steps, 30);
  assert.ok(steps.length > 0 && checkpoints.length > 0);
  let size = 0;
  for await (const { data } of system.client.stream("memory.read", { blob: output.weights })) size += data.length;
  assert.is(size, output.bytes);
});

test("a canceled run ends", async () => {
  const spec = { config, steps: 1_000_000, batch: 4 };
  const stream = system.client.stream("device.train", { job: "j2", spec, data: await store() });
  for await (const _ of stream) break;
  const error = await stream.result.catch((error: SomaError) => error);
  assert.is((error as SomaError).code, "ECANCELED");
});

test.run();
