import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoadSpec } from "../../../../../services/device/drivers/driver.ts";
import { type Config, type FileType, llama, randomWeights, roundTo } from "./files.ts";
import { forward, logSoftmax } from "./reference.ts";
import { distributions, everything, load, prompt, quantum, run } from "./run.ts";

/** Largest difference between the driver's and the reference's log-probabilities, of a prompt of 21 and 8 decoded ids. */
async function difference(config: Config, spec: Partial<LoadSpec> = {}, type: FileType = "F32"): Promise<number> {
  const weights = roundTo(type, randomWeights(config));
  const model = await load(config, weights, spec, type);
  try {
    const ids = prompt(21, 3);
    const given = { ids, blocks: [5, 2, 9], sample: everything(model), maxNew: 8, logprobsOf: true };
    const { report, tokens } = await run(model, quantum([given]));
    const [{ newIds, logprobs }] = report.seqs as [(typeof report.seqs)[0]];
    assert.is(newIds.length, 8);
    const expected = forward(config, weights, [...ids, ...newIds]).logits.map(logSoftmax);
    const errors = distributions(tokens).flatMap((row, i) =>
      row.map((value, id) => Math.abs(value - expected[20 + i]![id]!)),
    );
    for (const [i, value] of logprobs!.entries()) if (i > 0) errors.push(Math.abs(value! - expected[i - 1]![ids[i]!]!));
    assert.is(logprobs![0], null);
    return Math.max(...errors);
  } finally {
    await model.unload();
  }
}

const families: Record<string, Config> = {
  "llama with tied embeddings": llama(),
  "llama with an output matrix of its own": llama({ tie_word_embeddings: false }),
  "llama with biases everywhere": llama({ attention_bias: true, mlp_bias: true }),
  "llama with one KV head for each head, and odd sizes": llama({
    num_key_value_heads: 6,
    intermediate_size: 37,
    vocab_size: 97,
  }),
  "llama with eight heads on one KV head": llama({ num_attention_heads: 8, num_key_value_heads: 1, head_dim: 16 }),
  "llama 3 with scaled rotation": llama({
    rope_theta: 500,
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
  }),
  "llama with linear scaling": llama({ rope_scaling: { rope_type: "linear", factor: 2 } }),
  "mistral with a sliding window": llama({ model_type: "mistral", sliding_window: 7 }),
  "qwen2 with biases on q, k and v": llama({ model_type: "qwen2" }),
  "qwen3 with norms on the heads": llama({ model_type: "qwen3", tie_word_embeddings: false }),
};
for (const [name, config] of Object.entries(families))
  test(`${name} computes what the reference computes`, async () => {
    const most = await difference(config);
    assert.ok(most < 1e-4, `off by ${most}`);
  });

test("half-precision files are read exactly", async () => {
  for (const type of ["F16", "BF16"] as const) {
    const most = await difference(llama(), {}, type);
    assert.ok(most < 1e-4, `${type}: off by ${most}`);
  }
});

test("the portable arithmetic computes the same, and says so in its numerics", async () => {
  const most = await difference(llama(), { strict: true });
  assert.ok(most < 1e-4, `off by ${most}`);
});

// Random weights spread every error, and a log-probability here spans 30: perplexity.test.ts measures what a trained model loses.
for (const [dtype, least, most] of [
  ["int8", 1e-3, 2.5],
  ["int4", 0.1, 12],
] as const)
  test(`${dtype} weights stay close to the reference, in both arithmetics`, async () => {
    const odd = llama({ num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 43 });
    for (const strict of [false, true]) {
      const error = await difference(odd, { dtype, strict });
      assert.ok(error < most, `off by ${error}`);
      assert.ok(error > least, `${dtype} is exact: is it used at all?`);
    }
  });

test("an embedding is the mean of the final hidden states, in one quantum or in two", async () => {
  const config = llama();
  const weights = randomWeights(config);
  const model = await load(config, weights);
  try {
    const ids = prompt(19, 2);
    const { hidden } = forward(config, weights, ids);
    const expected = hidden[0]!.map((_, d) => hidden.reduce((sum, state) => sum + state[d]!, 0) / ids.length);
    const embed = { sample: null, maxNew: 0, embed: "mean" as const, blocks: [0, 1] };
    const whole = (await run(model, quantum([{ ...embed, ids }], { tokenBudget: 5 }))).report.seqs[0]!;
    assert.is(whole.embedding!.tokens, 19);
    for (const [d, value] of whole.embedding!.mean.entries()) assert.ok(Math.abs(value - expected[d]!) < 1e-4);

    const first = (await run(model, quantum([{ ...embed, ids }], { tokenBudget: 5, maxSteps: 2 }))).report.seqs[0]!;
    assert.is(first.pos, 10);
    const second = (await run(model, quantum([{ ...embed, ids: ids.slice(10), pos: 10 }]))).report.seqs[0]!;
    for (const [d, value] of first.embedding!.mean.entries())
      assert.ok(Math.abs((10 * value + 9 * second.embedding!.mean[d]!) / 19 - whole.embedding!.mean[d]!) < 1e-12);
  } finally {
    await model.unload();
  }
});

test.run();
