// Owns a training that would go on for long, for the tests and the bench of what it does to others.
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import { encodeDataset, tokenDataset } from "../../../services/device/engine/dataset.ts";

const examples = Array.from({ length: 64 }, (_, e) => ({
  ids: Array.from({ length: 48 }, (_, i) => (e * 7 + i * 3) % 90),
  prompt: 4,
}));
const config = {
  ...{ vocab_size: 96, hidden_size: 96, intermediate_size: 256, num_hidden_layers: 2, num_attention_heads: 4 },
  ...{ num_key_value_heads: 4, max_position_embeddings: 64, tie_word_embeddings: true },
};

/** Starts one with so many workers; resolves after its first step. `client` may act for apps. */
export async function startTraining(client: Client, workers = 1) {
  const bytes = encodeDataset(tokenDataset({ train: examples }));
  const writing = client.stream("memory.write", { size: bytes.length });
  await writing.upload([bytes]);
  const { blob } = await writing.result;
  const spec = { config, steps: 1_000_000, batch: 16, lr: 1e-3, evaluateEvery: 0 };
  const stream = client.stream("device.train", { job: "j", spec, data: blob, workers });
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
    last: () => steps.at(-1)!.step,
    /** Ends it; the code that it ended with. */
    async stop() {
      await stream.cancel();
      return await failed;
    },
  };
}
