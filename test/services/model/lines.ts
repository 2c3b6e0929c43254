// Owns a training that takes seconds: five lines, a very small network.
import type { startRunning } from "./running.ts";

const PAIRS = ["Hello World|你好，世界", "Good morning|早上好", "Thank you|谢谢", "Good night|晚安", "the fox|狐狸"];
export const lines = PAIRS.map((pair) => {
  const [source, target] = pair.split("|");
  return JSON.stringify({ source, target, task: "translate", origin: "handwritten" });
});
export const config = {
  ...{ hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ head_dim: 8, intermediate_size: 64, vocab_size: 400 },
};
export const hyper = { steps: 100, lr: 0.01, evaluateEvery: 50, batch: 8 };

/** Submits a training on these lines as the person. */
export async function train(
  system: Awaited<ReturnType<typeof startRunning>>,
  extra: object = {},
  text = lines,
): Promise<string> {
  const data = await system.store(Buffer.from(`${text.join("\n")}\n`));
  const { job } = await system.client.call("model.train", { name: "mine", data, config, hyper, ...extra });
  return job;
}
