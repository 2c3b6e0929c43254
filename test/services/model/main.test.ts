// The real programs together: an imported model speaks, a job trains one, and both survive what is killed under them.
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, type SomaError } from "../../../kernel/abi/errors.ts";
import { until } from "../../helpers/system.ts";
import { randomWeights } from "../device/drivers/wasm/files.ts";
import { forward, logSoftmax } from "../device/drivers/wasm/reference.ts";
import { modelFolder, startRunning } from "./running.ts";

/** What "fox" is made of, for comparison. */
const folder = modelFolder();
const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
const weights = randomWeights(config, 1);

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
  const row = await system.client.call("model.importDir", { dir: folder, name: "fox" });
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

test("what is broken in a folder is named, and nothing is left behind", async () => {
  const before = await system.client.call("model.list", {});
  const cases: [(dir: string) => void, string, RegExp][] = [
    [(dir) => truncateSync(join(dir, "model.safetensors"), 2_000), "EINVAL", /model\.safetensors/],
    [(dir) => rmSync(join(dir, "tokenizer.json")), "ENOENT", /tokenizer\.json/],
    [(dir) => writeFileSync(join(dir, "config.json"), "{"), "EINVAL", /config\.json is not JSON/],
    [(dir) => writeFileSync(join(dir, "config.json"), '{"vocab_size":9,"hidden_size":9}'), "EINVAL", /do not belong/],
  ];
  for (const [harm, code, message] of cases) {
    const dir = modelFolder();
    harm(dir);
    const error = await refused(system.client.call("model.importDir", { dir, name: "broken" }));
    assert.is(error.code, code);
    assert.match(error.message, message);
  }
  for (const [dir, name] of [
    ["/nowhere", "broken"],
    ["relative", "broken"],
    [modelFolder(), "..%2f"],
  ] as const)
    assert.ok(
      ["ENOENT", "EINVAL"].includes((await refused(system.client.call("model.importDir", { dir, name }))).code),
    );
  assert.equal(await system.client.call("model.list", {}), before);
  assert.equal(readdirSync(join(system.world.home.root, "models", ".staging")), []);
});

test("bad requests get their codes, and the service goes on", async () => {
  const ask = (input: object) => refused(system.generate(input as { prompt: string }));
  assert.is((await ask({ model: "cat", prompt: "a" })).code, "ENOENT");
  assert.is((await ask({ model: "fox@9", prompt: "a" })).code, "ENOENT");
  assert.is((await ask({ model: "../fox", prompt: "a" })).code, "EINVAL");
  assert.is((await ask({ model: "fox" })).code, "EINVAL");
  const long = await ask({ model: "fox", prompt: "z".repeat(1000) });
  assert.is(long.code, "EINVAL");
  assert.match(long.message, /1001 tokens.*context 256/);
  assert.is((await refused(system.client.call("model.job", { job: "nope" }))).code, "ENOENT");
  assert.is((await refused(system.client.call("model.remove", { model: "fox" }))).code, "EINVAL");
  assert.is((await system.generate({ model: "fox", prompt: "a", maxTokens: 1 })).ids.length, 1);
});

const sampled = { model: "fox", prompt: "the quick", maxTokens: 40, sample: { temperature: 1, seed: 9 } };

test("a text goes on from any of its ids exactly, if the arithmetic is the same", async () => {
  const whole = await system.generate(sampled);
  assert.is(whole.end.seed, 9);
  const { numerics } = whole.end;
  for (const have of [1, 7, 39, whole.ids.length]) {
    const rest = await system.generate({ ...sampled, resume: { ids: whole.ids.slice(0, have), numerics } });
    assert.equal(rest.ids, whole.ids.slice(have));
    assert.is(rest.end.text, whole.end.text);
    assert.is(rest.end.usage.newTokens, whole.ids.length);
    assert.is(rest.end.usage.promptTokens, whole.end.usage.promptTokens);
  }
  const resume = { ids: whole.ids.slice(0, 7), numerics: "another" };
  const error = await refused(system.generate({ ...sampled, resume }));
  assert.equal([error.code, error.retryable], ["ESERVICEDOWN", false]);
  assert.is((await system.generate({ ...sampled, resume: { ...resume, approximate: true } })).ids[0], whole.ids[7]);
});

test("a stop string ends the text and the sequence", async () => {
  const whole = await system.generate(sampled);
  const middle = whole.text.slice(10, 13);
  const cut = await system.generate({ ...sampled, stop: [middle] });
  assert.is(cut.end.finish, "stop");
  assert.is(cut.text, whole.text.slice(0, whole.text.indexOf(middle)));
  assert.is(cut.end.text, cut.text);
  assert.ok(cut.ids.length < whole.ids.length);
});

test("many at once are the same as one after another", async () => {
  const ask = (seed: number) => system.generate({ ...sampled, sample: { temperature: 1, seed } });
  const alone: number[][] = [];
  for (let seed = 1; seed <= 6; seed++) alone.push((await ask(seed)).ids);
  const together = await Promise.all([1, 2, 3, 4, 5, 6].map(ask));
  assert.equal(
    together.map(({ ids }) => ids),
    alone,
  );
});

test("a request that is canceled leaves nothing behind in the scheduler", async () => {
  const abort = new AbortController();
  const running = refused(system.generate({ ...sampled, maxTokens: 200 }, { signal: abort.signal }));
  await new Promise((resolve) => setTimeout(resolve, 30));
  abort.abort();
  assert.is((await running).code, "ECANCELED");
  await until(
    "the queue is empty",
    async () => (await system.client.call("scheduler.queue", {})).sequences.length === 0,
  );
  const { figures } = await system.client.call("model.stat", {});
  assert.is(figures.requests, 0);
});

test("texts are scored, embedded and cut into pieces", async () => {
  const { scores } = await system.client.call("model.score", {
    model: "fox",
    prompt: "the quick",
    completions: [" brown", " fox jumps"],
  });
  assert.ok(scores.every(({ logprob, tokens }) => logprob < 0 && tokens > 0));
  assert.ok(Math.abs(scores[0]!.share + scores[1]!.share - 1) < 1e-12);
  const { vectors, usage } = await system.client.call("model.embed", { model: "fox", texts: ["a", "the fox"] });
  assert.equal(
    vectors.map(({ length }) => length),
    [24, 24],
  );
  const counts = await Promise.all(
    ["a", "the fox"].map((text) => system.client.call("model.tokenize", { model: "fox", text })),
  );
  assert.is(
    usage.promptTokens,
    counts.reduce((sum, { ids }) => sum + 1 + ids.length, 0),
  );
  const { ids, pieces } = await system.client.call("model.tokenize", { model: "fox", text: "the fox 你" });
  assert.is(pieces.length, ids.length);
  assert.ok(pieces.join("").startsWith("the fox "));
});

const PROMPT = "the quick brown fox jumps over the lazy dog. ".repeat(4).trimEnd();

/** The ids of a text as the model gets it: after the opening <|bos|>. */
const opened = async (text: string) => [0, ...(await system.client.call("model.tokenize", { model: "fox", text })).ids];

test("a text and its ids have one embedding; the last state is another; a normalised one has length 1", async () => {
  const embed = async (input: object) =>
    (await system.client.call("model.embed", { model: "fox", texts: [PROMPT], ...input })).vectors[0]!;
  const mean = await embed({});
  const ids = await opened(PROMPT);
  assert.equal(await embed({ texts: [ids] }), mean);
  const last = await embed({ pooling: "last" });
  assert.not.equal(last, mean);
  // Its prefix is shared by now: the answer is the same to the bit.
  assert.equal(await embed({ pooling: "last" }), last);
  const unit = await embed({ normalize: true });
  assert.ok(Math.abs(Math.hypot(...unit) - 1) < 1e-9);
  const length = Math.hypot(...mean);
  const { hidden } = forward(config, weights, ids);
  for (const [d, value] of last.entries()) {
    assert.ok(Math.abs(value - hidden.at(-1)![d]!) < 1e-4);
    assert.ok(Math.abs(mean[d]! - hidden.reduce((sum, state) => sum + state[d]!, 0) / ids.length) < 1e-4);
  }
  assert.ok(unit.every((value, d) => Math.abs(value - mean[d]! / length) < 1e-12));
  const error = await embed({ texts: [[1, 100_000]] }).catch((caught) => caught);
  assert.is(error.code, "EINVAL");
});

test("labels have the log-probability of their ids one by one, and their prompt is computed once", async () => {
  const labels = ["brown", "fox", "lazy dog", "jumps over", "the", "quick"];
  const ask = (input: object) =>
    system.client.call("model.classify", { model: "fox", texts: [PROMPT], labels, template: "{text} ", ...input });
  const { results, usage } = await ask({});
  const [result] = results;
  assert.is(result!.labels.length, labels.length);
  assert.is(result!.label, result!.labels[0]!.label);
  assert.ok(Math.abs(result!.labels.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-12);
  const before = await opened(PROMPT);
  // All but the last part of a block is shared by the labels.
  const shared = 16 * Math.floor(before.length / 16);
  assert.ok(usage.cachedTokens >= (labels.length - 1) * shared, `${usage.cachedTokens} of ${shared} each`);
  assert.is(usage.computedTokens + usage.cachedTokens, usage.promptTokens);

  for (const { label, logprob, tokens } of result!.labels) {
    const { ids } = await system.client.call("model.tokenize", { model: "fox", text: ` ${label}` });
    assert.is(tokens, ids.length);
    const whole = [...before, ...ids];
    const { logits } = forward(config, weights, whole);
    const sum = ids.reduce((sum, id, i) => sum + logSoftmax(logits[before.length - 1 + i]!)[id]!, 0);
    assert.ok(Math.abs(sum - logprob) < 1e-4, `${label}: ${logprob}, plainly ${sum}`);
  }
  assert.equal((await ask({})).results, results);
  const calibrated = (await ask({ calibrate: true, template: "so: {text} ", texts: [PROMPT, "fox"] })).results;
  assert.is(calibrated.length, 2);
  for (const [wrong, why] of [
    [{ labels: ["a", "a"] }, /twice/],
    [{ template: "no place" }, /\{text\}/],
  ] as const) {
    const error = await ask(wrong).catch((caught) => caught);
    assert.is(error.code, "EINVAL");
    assert.match(error.message, why);
  }
});

test("an alias moves to another version; a version that it names cannot be removed", async () => {
  const second = await system.client.call("model.importDir", { dir: modelFolder({ seed: 5 }), name: "fox" });
  assert.is(second.version, 2);
  assert.is((await system.client.call("model.deploy", { model: "fox@1", alias: "live" })).previous, null);
  const before = await system.generate({ ...sampled, model: "live" });
  const running = system.generate({ ...sampled, model: "live", maxTokens: 150 });
  assert.is((await system.client.call("model.deploy", { model: "fox@2", alias: "live" })).previous, "fox@1");
  const after = await system.generate({ ...sampled, model: "live" });
  assert.equal([before.end.version, after.end.version, (await running).end.version], [1, 2, 1]);
  assert.not.equal(before.ids, after.ids);
  assert.is((await refused(system.client.call("model.remove", { model: "fox@2" }))).code, "EBUSY");
  await until("the former version is given back", async () => {
    const { models } = await system.client.call("device.list", {});
    return models.every(({ model }) => model !== "fox@1");
  });
  await system.client.call("model.remove", { model: "fox@1" });
  assert.is((await refused(system.generate({ ...sampled, model: "fox@1" }))).code, "ENOENT");
});

test("a model is exported as it was imported", async () => {
  const dir = join(system.world.home.root, "out");
  const { files } = await system.client.call("model.export", { model: "fox@2", dir });
  assert.ok(["config.json", "model.safetensors", "tokenizer.json"].every((name) => files.includes(name)));
  assert.is((await refused(system.client.call("model.export", { model: "fox@2", dir }))).code, "EEXIST");
  const again = await system.client.call("model.importDir", { dir, name: "twin" });
  const [a, b] = [
    await system.generate({ ...sampled, model: "fox@2" }),
    await system.generate({ ...sampled, model: "twin" }),
  ];
  assert.equal(a.ids, b.ids);
  assert.is(again.version, 1);
});

test("an app may train, but neither move an alias nor put its model in the place of another's", async () => {
  const boss = await system.world.client("memory-1");
  const train = (input: object) =>
    refused(
      boss.call("model.train", { name: "mine", data: "builtin", ...input } as never, { for: { principal: "bob" } }),
    );
  const moved = await train({ deploy: "default" });
  assert.is(moved.code, "EPERM");
  assert.match(moved.message, "lacks the right model.deploy, which is a person's");
  assert.match(moved.message, "soma model deploy mine --alias default");
  const foreign = await train({ name: "fox" });
  assert.is(foreign.code, "EPERM");
  assert.match(foreign.message, 'the model "fox" is not bob\'s');
});

test.run();
