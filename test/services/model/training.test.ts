// The real programs together: jobs train models, in good order and when something goes wrong.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { until } from "../../helpers/system.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

const PAIRS = ["Hello World|你好，世界", "Good morning|早上好", "Thank you|谢谢", "Good night|晚安", "the fox|狐狸"];
const lines = PAIRS.map((pair) => {
  const [source, target] = pair.split("|");
  return JSON.stringify({ source, target, task: "translate", origin: "handwritten" });
});
const config = {
  ...{ hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ head_dim: 8, intermediate_size: 64, vocab_size: 400 },
};
const hyper = { steps: 100, lr: 0.01, evaluateEvery: 50, batch: 8 };

/** Submits a training on these lines. */
async function train(extra: object = {}, text = lines): Promise<string> {
  const data = await system.store(Buffer.from(`${text.join("\n")}\n`));
  const { job } = await system.client.call("model.train", { name: "mine", data, config, hyper, ...extra });
  return job;
}
/** Waits until the job's row holds. */
async function row(job: string, holds: (row: Output<"model.job">) => boolean): Promise<void> {
  await until("the job got there", async () => holds(await system.client.call("model.job", { job })));
}

test("a job trains a model on a user's lines, measures it, registers and deploys it", async () => {
  const { rows, end } = await system.follow(await train({ deploy: "default" }));
  assert.is(end.state, "done", end.error);
  assert.is(end.model, "mine@1");
  assert.ok(rows.some(({ state, progress }) => state === "training" && (progress?.step ?? 0) >= 50));
  const shown = await system.client.call("model.show", { model: "default" });
  assert.equal(shown.aliases, ["default"]);
  const record = shown.record as { eval: { handwritten: { exactMatch: number } }; curve: object[]; note: string };
  assert.is(record.eval.handwritten.exactMatch, 1);
  assert.ok(record.curve.length > 1);
  assert.match(record.note, /meant to be memorised/);
  const stream = system.client.stream("model.translate", { text: "Hello World" });
  let text = "";
  for await (const chunk of stream) text += chunk.text;
  assert.is(text, "你好，世界");
  const measured = await system.client.call("model.evaluate", { split: "handwritten" });
  assert.equal([measured.cases, measured.exactMatch], [5, 1]);
});

test("the same key is the same job", async () => {
  const data = await system.store(Buffer.from(lines.join("\n")));
  const ask = () => system.client.call("model.train", { name: "mine", data, config, hyper }, { key: "once" });
  const [first, second] = await Promise.all([ask(), ask()]);
  assert.is(first.job, second.job);
  await system.client.call("model.stop", { job: first.job });
  assert.is((await system.follow(first.job)).end.state, "canceled");
});

test("a broken line fails the job and is named by its number", async () => {
  const { end } = await system.follow(await train({}, [lines[0]!, "{", lines[1]!]));
  assert.is(end.state, "failed");
  assert.match(end.error ?? "", /data:2/);
});

test("a loss that is no number fails the job and says so; others go on", async () => {
  const { end } = await system.follow(
    await train({ hyper: { ...hyper, lr: 1e20, clip: 0, warmup: 0, optimizer: "sgd" } }),
  );
  assert.is(end.state, "failed");
  assert.match(end.error ?? "", /not a number/);
});

test("a network over vectors is trained on random numbers", async () => {
  const { job } = await system.client.call("model.train", {
    name: "dense",
    architecture: "mlp",
    data: "random",
    config: { layers: [100, 128, 100], activation: "relu", loss: "crossEntropy" },
    hyper: { optimizer: "adam", lr: 0.001, epochs: 100, examples: 32, batch: 32 },
  });
  const { end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  const { record, loss } = await system.client.call("model.show", { model: "dense" });
  assert.is((record as { architecture: string }).architecture, "mlp");
  assert.ok(loss! < Math.log(100) / 2, String(loss));
});

test("a job whose device is killed goes on from its checkpoint by itself", async () => {
  const job = await train({ hyper: { ...hyper, steps: 250, evaluateEvery: 25 } });
  await row(job, ({ progress }) => (progress?.step ?? 0) > 60);
  await system.kernel.kill("device", system.programs.device);
  system.programs.device = await system.kernel.start("device");
  const { rows, end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  assert.ok(end.attempts > 1);
  const resumed = rows.find(({ attempts, progress }) => attempts > 1 && progress !== undefined);
  assert.ok(resumed!.progress!.step >= 25, String(resumed!.progress!.step));
});

test("a job outlives the model service, and so does what was acknowledged and not begun", async () => {
  const first = await train({ hyper: { ...hyper, steps: 200, evaluateEvery: 25 } });
  const second = await train();
  await row(first, ({ progress }) => (progress?.step ?? 0) > 60);
  await system.kernel.kill("model", system.programs.model);
  system.programs.model = await system.kernel.start("model");
  for (const job of [first, second]) {
    const { end } = await system.follow(job);
    assert.is(end.state, "done", end.error);
  }
});

test.run();
