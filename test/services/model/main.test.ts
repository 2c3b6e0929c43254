// The real programs together: an imported model speaks, a job trains one, and both survive what is killed under them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, type SomaError } from "../../../kernel/abi/errors.ts";
import { modelFolder, startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

const refused = async (promise: Promise<unknown>): Promise<SomaError> => {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (error) => error,
  );
  if (isSomaError(error)) return error;
  throw error;
};

test("a folder in Hugging Face's form is imported and speaks", async () => {
  const row = await system.client.call("model.importDir", { dir: modelFolder(), name: "fox" });
  assert.is(row.name, "fox");
  assert.is(row.version, 1);
  assert.is(row.architecture, "llama");
  const { end, text, ids } = await system.generate({ model: "fox", prompt: "the quick", maxTokens: 12 });
  assert.is(end.text, text);
  assert.is(end.model, "fox");
  assert.is(end.version, 1);
  assert.is(end.usage.newTokens, ids.length);
  assert.ok(end.seed > 0);
  const again = await system.generate({ model: "fox@1", prompt: "the quick", maxTokens: 12 });
  assert.equal(again.ids, ids);
});

const PAIRS = ["Hello World|你好，世界", "Good morning|早上好", "Thank you|谢谢", "Good night|晚安", "the fox|狐狸"];
const jsonl = (lines: readonly object[]) => Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
const SMALL = {
  config: {
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 8,
    intermediate_size: 64,
    vocab_size: 400,
  },
  hyper: { steps: 150, lr: 0.01, evaluateEvery: 50, batch: 8 },
};

test("a job trains a model on a user's lines, measures it, registers and deploys it", async () => {
  const lines = PAIRS.map((pair) => pair.split("|")).map(([source, target]) => ({
    source,
    target,
    task: "translate",
    origin: "handwritten",
  }));
  const data = await system.store(jsonl(lines));
  const { job } = await system.client.call("model.train", { name: "mine", data, deploy: "default", ...SMALL });
  const { rows, end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  assert.is(end.model, "mine@1");
  assert.is(rows[0]?.state === "done", false);
  assert.ok(rows.some(({ state, progress }) => state === "training" && progress!.step >= 50));
  const shown = await system.client.call("model.show", { model: "default" });
  assert.equal(shown.aliases, ["default"]);
  const record = shown.record as { eval: { handwritten: { exactMatch: number } }; curve: object[]; seed: number };
  assert.is(record.eval.handwritten.exactMatch, 1);
  assert.ok(record.curve.length > 1);
  const stream = system.client.stream("model.translate", { text: "Hello World" });
  let text = "";
  for await (const chunk of stream) text += chunk.text;
  assert.is(text, "你好，世界");
});

test.run();
