// What quantised weights lose on a trained model: perplexity on a text that it has not seen.
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeDataset, tokenDataset } from "../../../../../services/device/engine/dataset.ts";
import { startTraining } from "../../../../../services/device/train.ts";
import { file } from "./files.ts";
import { load, quantum, run } from "./run.ts";

const window = 64;
const config = {
  ...{ model_type: "llama", vocab_size: 128, hidden_size: 64, intermediate_size: 176, num_hidden_layers: 2 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, max_position_embeddings: window },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true },
};
// Bytes of a text that never changes: the licence. The model learns four fifths of it and is asked about the rest.
const text = readFileSync(new URL("../../../../../LICENSE", import.meta.url)).filter((byte) => byte < 128);
const cut = Math.floor(text.length * 0.8);
const windows = (bytes: Uint8Array, step: number) =>
  Array.from({ length: Math.floor((bytes.length - window) / step) }, (_, i) => [
    ...bytes.subarray(i * step, i * step + window),
  ]);
const asked = windows(text.subarray(cut), window);

async function perplexity(weights: string, dtype: "f32" | "int8" | "int4", strict = false): Promise<number> {
  const model = await load(config, {}, { weights, dtype, strict, kvBlocks: 200 });
  try {
    const given = asked.map((ids, i) => ({
      ...{ seq: `${i}`, ids, blocks: [0, 1, 2, 3].map((block) => 4 * i + block), maxNew: 0 },
      ...{ sample: null, logprobsOf: true },
    }));
    const { report } = await run(model, quantum(given, { tokenBudget: 128 }));
    const known = report.seqs.flatMap(({ logprobs }) => logprobs!.filter((value) => value !== null));
    assert.is(known.length, asked.length * (window - 1));
    return Math.exp(-known.reduce((sum, value) => sum + value, 0) / known.length);
  } finally {
    await model.unload();
  }
}

test("int8 costs at most 1 % of perplexity and int4 5 %, in both arithmetics", async () => {
  const examples = windows(text.subarray(0, cut), 16).map((ids) => ({ ids, prompt: 1 }));
  const spec = { config, steps: 220, batch: 12, lr: 6e-3, warmup: 10, evaluateEvery: 0 };
  const { weights } = await startTraining(spec, encodeDataset(tokenDataset({ train: examples })), {});
  const path = file(weights);
  const exact = await perplexity(path, "f32");
  // 128 bytes at random have a perplexity of 128; it must have learnt something that can be lost.
  assert.ok(exact < 14, `f32 ${exact}`);
  for (const strict of [false, true]) {
    const [int8, int4] = [await perplexity(path, "int8", strict), await perplexity(path, "int4", strict)];
    assert.ok(Math.abs(int8 / exact - 1) < 0.01, `int8 ${int8}, f32 ${exact}`);
    assert.ok(Math.abs(int4 / exact - 1) < 0.05, `int4 ${int4}, f32 ${exact}`);
    assert.ok(int8 !== exact && int4 !== int8);
  }
});

test.run();
