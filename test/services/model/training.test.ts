// The real programs together: jobs train models, and say what is wrong with them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { config, hyper, lines, train } from "./lines.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

test("a job trains a model on a user's lines, measures it, registers and deploys it", async () => {
  const { rows, end } = await system.follow(await train(system, { deploy: "default" }));
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
  const { end } = await system.follow(await train(system, {}, [lines[0]!, "{", lines[1]!]));
  assert.is(end.state, "failed");
  assert.match(end.error ?? "", /data:2/);
});

test("a loss that is no number fails the job and says so; others go on", async () => {
  const { end } = await system.follow(
    await train(system, { hyper: { ...hyper, lr: 1e20, clip: 0, warmup: 0, optimizer: "sgd" } }),
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

test.run();
