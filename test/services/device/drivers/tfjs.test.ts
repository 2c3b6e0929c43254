import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoadedModel, LoadSpec } from "../../../../services/device/drivers/driver.ts";
import { loadTfjs } from "../../../../services/device/drivers/tfjs.ts";
import { wasm } from "../../../../services/device/drivers/wasm/driver.ts";
import { vocabularyOf, wrong } from "../grammar/schemas.ts";
import { type Config, file, llama, randomWeights, safetensors } from "./wasm/files.ts";
import { distributions, everything, greedy, prompt, quantum, refusal, run } from "./wasm/run.ts";

await tf.setBackend("cpu");

const spec = (config: Config): LoadSpec => {
  const weights = file(safetensors(randomWeights(config)));
  return { config, weights, dtype: "f32", kvBlocks: 24, threads: 1, nice: 0 };
};
const config = llama();
const given = spec(config);
const model = await loadTfjs(tf, "test", given);

async function both(of: LoadSpec, work: (model: LoadedModel) => Promise<unknown>): Promise<[unknown, unknown]> {
  const results: unknown[] = [];
  for (const one of [await loadTfjs(tf, "test", of), await wasm.load(of)]) {
    results.push(await work(one));
    await one.unload();
  }
  return results as [unknown, unknown];
}

test("greedy tokens are those of wasm, tied or not, with biases or without, however positions are scaled", async () => {
  const scaling = { rope_type: "llama3", factor: 4, original_max_position_embeddings: 32 };
  const variants = [
    {},
    { tie_word_embeddings: false, attention_bias: true, mlp_bias: true },
    { rope_scaling: { type: "linear", factor: 2 } },
    { rope_parameters: { ...scaling, low_freq_factor: 1, high_freq_factor: 4, rope_theta: 500 } },
  ];
  for (const extra of variants) {
    const [ours, theirs] = await both(spec(llama(extra)), async (one) => {
      const { report } = await run(one, quantum([{ ids: prompt(21, 1), maxNew: 20 }]));
      return report.seqs;
    });
    assert.equal(ours, theirs, JSON.stringify(extra));
  }
});

test("log-probabilities and embeddings are those of wasm", async () => {
  const [ours, theirs] = (await both(given, async (one) => {
    const { report, tokens } = await run(
      one,
      quantum([{ ids: prompt(20, 2), logprobsOf: true, embed: "mean", sample: everything(one), maxNew: 3 }]),
    );
    const { logprobs, embedding } = report.seqs[0]!;
    return [...distributions(tokens).flat(), ...logprobs!.slice(1), ...embedding!.mean] as number[];
  })) as [number[], number[]];
  assert.is(ours.length, theirs.length);
  const worst = Math.max(...ours.map((x, i) => Math.abs(x - theirs[i]!)));
  assert.ok(worst < 1e-3, `off by ${worst}`);
});

test("sampled tokens are those of wasm for the same seed", async () => {
  const sample = { ...greedy, temperature: 0.9, topK: 20, topP: 0.9, repetitionPenalty: 1.2, seed: 5 };
  const [ours, theirs] = await both(given, async (one) => {
    const { tokens } = await run(one, quantum([{ ids: prompt(9, 3), sample, maxNew: 25 }]));
    return tokens.map(({ id }) => id);
  });
  assert.equal(ours, theirs);
});

/** Tokens of a prompt that runs alone, in one quantum. */
const alone = async (ids: number[], maxNew: number) =>
  (await run(model, quantum([{ ids, maxNew, blocks: [20, 21, 22, 23] }]))).tokens.map(({ id }) => id);

test("constrained tokens are those of wasm, whole and valid, in one quantum or several", async () => {
  // All of JSON's punctuation, digits and letters, a character each.
  const chars = Array.from({ length: 83 }, (_, id) => (id === 0 ? '"' : String.fromCharCode(0x2b + id)));
  const vocabulary = vocabularyOf(chars);
  const schema = JSON.stringify({
    properties: { a: { type: "string" }, b: { type: "integer" } },
    required: ["a", "b"],
  });
  const [ours, theirs] = (await both({ ...given, vocabulary }, async (one) => {
    const texts: string[] = [];
    for (const seed of [1, 2, 3]) {
      const made: number[] = [];
      const first = prompt(20, seed);
      for (let finish: string | null = null, pos = 0; finish === null; ) {
        const ids = [...first, ...made].slice(pos);
        const sample = { ...greedy, temperature: 1, seed, constraint: { schema, made: [...made] } };
        const maxNew = 40 - made.length;
        const { report } = await run(one, quantum([{ pos, ids, sample, maxNew }], { maxSteps: seed === 2 ? 3 : 1000 }));
        made.push(...report.seqs[0]!.newIds);
        ({ finish, pos } = report.seqs[0]!);
      }
      texts.push(made.map((id) => chars[id]).join(""));
    }
    return texts;
  })) as [string[], string[]];
  assert.equal(ours, theirs);
  for (const text of ours) assert.is(wrong(JSON.parse(schema), text), undefined, text);
});

test("a batch, with prompts in chunks, gives each sequence what it gets alone", async () => {
  const prompts = [prompt(19, 4), prompt(3, 5), prompt(30, 6)];
  const seqs = prompts.map((ids, i) => ({
    seq: `s${i}`,
    ids,
    maxNew: 10,
    blocks: [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3],
  }));
  const { report } = await run(model, quantum(seqs, { tokenBudget: 7 }));
  for (const [i, ids] of prompts.entries()) assert.equal(report.seqs[i]!.newIds, await alone(ids, 10));
});

test("a sequence goes on after its quantum ended, in copied blocks and in another model", async () => {
  const ids = prompt(17, 7);
  const whole = await alone(ids, 12);
  const { report } = await run(model, quantum([{ ids, maxNew: 12 }], { maxSteps: 5 }));
  const { pos, newIds, finish } = report.seqs[0]!;
  assert.is(finish, null);
  const rest = { pos, ids: [...ids, ...newIds].slice(pos), maxNew: 12 - newIds.length, blocks: [8, 9, 10, 11] };
  for (let i = 0; i < 4; i++) model.copyBlock(i, 8 + i);
  assert.equal([...newIds, ...(await run(model, quantum([rest]))).report.seqs[0]!.newIds], whole);
  const other = await loadTfjs(tf, "test", given);
  assert.is(other.numerics, model.numerics);
  other.writeBlocks([8, 9, 10, 11], model.readBlocks([0, 1, 2, 3]));
  assert.equal([...newIds, ...(await run(other, quantum([rest]))).report.seqs[0]!.newIds], whole);
  await other.unload();
});

test("a quantum, and one sequence of it, can be cancelled; waiting ones run in turn", async () => {
  const first = quantum([
    { seq: "a", maxNew: 50 },
    { seq: "b", maxNew: 50, blocks: [4, 5, 6, 7] },
  ]);
  const second = quantum([{ maxNew: 2, blocks: [8] }]);
  let tokens = 0;
  const running = model.run(first, (some) => {
    tokens += some.length;
    if (tokens === 4) model.cancel(first.id, "b");
    if (tokens === 9) model.cancel(first.id);
  });
  const [cut, after] = await Promise.all([running, run(model, second)]);
  assert.ok(cut.cancelled);
  assert.equal(
    cut.seqs.map(({ newIds }) => newIds.length),
    [7, 2],
  );
  assert.is(after.report.seqs[0]!.newIds.length, 2);
});

test("no tensor is left behind by steps, a refused load or an unloaded model", async () => {
  const before = tf.memory().numTensors;
  const one = await loadTfjs(tf, "test", given);
  const loaded = tf.memory().numTensors;
  await run(one, quantum([{ maxNew: 5 }]));
  assert.is(tf.memory().numTensors, loaded);
  await one.unload();
  const cut = { ...given, weights: file(safetensors(randomWeights(llama({ num_hidden_layers: 1 })))) };
  assert.match(await refusal("EINVAL", () => loadTfjs(tf, "test", cut)), "model.layers.1");
  assert.is(tf.memory().numTensors, before);
  await refusal("ENOENT", () => one.run(quantum([{}]), () => {}));
});

test("what it cannot run is refused with what can", async () => {
  assert.match(await refusal("EINVAL", () => loadTfjs(tf, "test", { ...given, dtype: "int8" })), "f32");
  const qwen = { ...given, config: { ...config, model_type: "qwen2" } };
  assert.match(await refusal("EINVAL", () => loadTfjs(tf, "test", qwen)), "use driver wasm");
  const window = { ...given, config: { ...config, use_sliding_window: true, sliding_window: 8 } };
  assert.match(await refusal("EINVAL", () => loadTfjs(tf, "test", window)), "no sliding window");
  await refusal("ENOENT", () => loadTfjs(tf, "test", { ...given, weights: "nowhere.safetensors" }));
});

test.run();
