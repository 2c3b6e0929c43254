// Training in the real programs: it makes way for people and takes what they leave. Figures are printed, effects decide.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { encodeDataset, tokenDataset } from "../../../services/device/engine/dataset.ts";
import { llama } from "../device/drivers/wasm/files.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning(llama({ max_position_embeddings: 2048 }), 40_000_000);
  await system.load();
});
test.after(() => system.stop());

const examples = Array.from({ length: 64 }, (_, e) => ({
  ids: Array.from({ length: 48 }, (_, i) => (e * 7 + i * 3) % 90),
  prompt: 4,
}));
const config = {
  ...{ vocab_size: 96, hidden_size: 96, intermediate_size: 256, num_hidden_layers: 2, num_attention_heads: 4 },
  ...{ num_key_value_heads: 4, max_position_embeddings: 64, tie_word_embeddings: true },
};

/** Starts a training that would go on for long. */
async function train() {
  const { client } = system;
  const bytes = encodeDataset(tokenDataset({ train: examples }));
  const writing = client.stream("memory.write", { size: bytes.length });
  await writing.upload([bytes]);
  const { blob } = await writing.result;
  const spec = { config, steps: 1_000_000, batch: 16, lr: 1e-3, evaluateEvery: 0 };
  const stream = client.stream("device.train", { job: "j", spec, data: blob, workers: 1 });
  const steps: { step: number; at: number }[] = [];
  const ended = (async () => {
    for await (const { step } of stream) steps.push({ step, at: performance.now() });
    return (await stream.result) as Output<"device.train">;
  })();
  const failed = ended.then(
    () => "done",
    (error) => error.code as string,
  );
  while (steps.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  return {
    steps,
    last: () => steps.at(-1)!.step,
    async stop() {
      await stream.cancel();
      return await failed;
    },
  };
}

const rested = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ask = (seed: number, maxNew = 16) => ({
  ids: Array.from({ length: 64 }, (_, i) => (5 * i + 17 * seed) % 83),
  maxNew,
  sample: { temperature: 0.8, seed },
});

test("training rests while somebody has work, goes on after, and its end does not wait for that", async () => {
  const training = await train();
  const trained = training.last();
  // Work without a pause for a second and a half or more: far less than the slice after five.
  const from = performance.now();
  await system.run(ask(0));
  const [held, at] = [training.last(), performance.now()];
  let asked = 1;
  while (performance.now() - from < 1_500) await system.run(ask(asked++, 100));
  const during = training.last() - held;
  const alone = training.last();
  while (training.last() < alone + 3) await rested(20);
  console.log(
    `${asked} requests in ${(performance.now() - at).toFixed(0)} ms, ${during} steps meanwhile; ${trained} before`,
  );
  // The step under way when the first came may be reported late; more only where the work outlasted five seconds.
  assert.ok(during <= 2 || performance.now() - from > 4_000, `${during} steps while others had work`);
  const running = system.run(ask(1, 400));
  assert.is(await training.stop(), "ECANCELED");
  await running;
});

test("tokens are those without training", async () => {
  const alone = await system.run(ask(7, 60));
  const training = await train();
  const beside = await system.run(ask(7, 60));
  assert.equal(beside.ids, alone.ids);
  await training.stop();
});

test.run();
