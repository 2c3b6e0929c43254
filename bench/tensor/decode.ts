// Measures decoding on the wasm driver beside PyTorch (where it can be imported) and the memory's streaming read bandwidth,
// all in turns within one run: node --import tsx bench/tensor/decode.ts [--shape 135M] [--threads 1] [--rounds 5] [--all]
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { blockTokens, type LoadedModel, type Quantum } from "../../services/device/drivers/driver.ts";
import { wasm } from "../../services/device/drivers/wasm/driver.ts";
import { inTurns, load, type Measure, type Row, table } from "../figures.ts";
import { startTorch, type Torch } from "./torch.ts";

const shape = (vocab: number, width: number, layers: number, heads: number, kvHeads: number, ffn: number) => ({
  ...{ model_type: "llama", vocab_size: vocab, hidden_size: width, num_hidden_layers: layers },
  ...{ num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: width / heads, intermediate_size: ffn },
  ...{ max_position_embeddings: 2048, rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true },
});
type Config = ReturnType<typeof shape>;

const shapes: Record<string, Config> = {
  S: shape(1024, 128, 4, 4, 2, 352),
  "15M": shape(32000, 288, 6, 6, 6, 768),
  // SmolLM2-135M
  "135M": shape(49152, 576, 30, 9, 3, 1536),
};

/** Writes random F32 weights of this config and returns the file's parameters that a decode step reads. */
function writeWeights(config: Config, file: string): number {
  const { hidden_size: width, intermediate_size: ffn, vocab_size: vocab } = config;
  const [q, kv] = [config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim];
  const tensors: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab, width]],
    ["model.norm.weight", [width]],
  ];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const add = (name: string, ...size: number[]) => tensors.push([`model.layers.${i}.${name}.weight`, size]);
    add("input_layernorm", width);
    add("post_attention_layernorm", width);
    add("self_attn.q_proj", q, width);
    add("self_attn.k_proj", kv, width);
    add("self_attn.v_proj", kv, width);
    add("self_attn.o_proj", width, q);
    add("mlp.gate_proj", ffn, width);
    add("mlp.up_proj", ffn, width);
    add("mlp.down_proj", width, ffn);
  }
  let end = 0;
  const header: Record<string, unknown> = {};
  const counts = tensors.map(([name, size]) => {
    const count = size.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape: size, data_offsets: [end, (end += 4 * count)] };
    return count;
  });
  let state = 42;
  // One random pattern, of a length that fits no row, over and over: speed does not depend on the values.
  const pattern = Float32Array.from({ length: 2 ** 20 - 3 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * 0.35;
  });
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const fd = openSync(file, "w");
  writeSync(fd, length);
  writeSync(fd, json);
  for (let left of counts)
    for (; left > 0; left -= pattern.length) writeSync(fd, pattern.subarray(0, Math.min(left, pattern.length)));
  closeSync(fd);
  return counts.reduce((a, b) => a + b, 0);
}

const dtypes = ["f32", "int8", "int4"] as const;
type Dtype = (typeof dtypes)[number];

const past = 64;
const blocksOf = (index: number, each: number) => Array.from({ length: each }, (_, i) => index * each + i);

/** Tokens per second of `steps` decode steps of `batch` sequences that have `past` tokens behind them. */
async function decode(model: LoadedModel, batch: number, steps: number): Promise<number> {
  const each = Math.ceil((past + steps + 1) / blockTokens);
  const quantum = (id: string, pos: number, ids: number[], maxSteps: number): Quantum => ({
    ...{ id, maxSteps, maxMs: 1e9, tokenBudget: 128 },
    seqs: Array.from({ length: batch }, (_, i) => ({
      ...{ seq: `${i}`, blocks: blocksOf(i, each), pos, ids, maxNew: maxSteps, stopIds: [] },
      sample: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: i },
    })),
  });
  const prompt = Array.from({ length: past }, (_, i) => i + 1);
  await model.run(quantum("prefill", 0, prompt, 1000), () => {});
  const report = await model.run(quantum("decode", past, [7], steps), () => {});
  return (1000 * report.computedTokens) / report.ms;
}

async function prefill(model: LoadedModel, tokens: number): Promise<number> {
  const ids = Array.from({ length: tokens }, (_, i) => i + 1);
  const seqs = [
    {
      seq: "p",
      blocks: blocksOf(0, Math.ceil(tokens / blockTokens)),
      pos: 0,
      ids,
      sample: null,
      maxNew: 0,
      stopIds: [],
    },
  ];
  const report = await model.run({ id: "prefill", maxSteps: 1000, maxMs: 1e9, tokenBudget: 128, seqs }, () => {});
  return (1000 * report.computedTokens) / report.ms;
}

/** Bytes per second of a search through a buffer far larger than the caches, for a byte that is not there: pure reading. */
function bandwidth(buffer: Buffer): number {
  const start = performance.now();
  if (buffer.indexOf(1) !== -1) throw new Error("the buffer is not zero");
  return (1000 * buffer.length) / (performance.now() - start);
}

const there =
  (torch: Torch, batch: number, steps: number): Measure =>
  async () =>
    (batch * steps) / Number(await torch.ask(`${batch} ${past} ${steps}`));

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "135M" },
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "5" },
    strict: { type: "boolean", default: false },
    /** Prefill, too. */
    all: { type: "boolean", default: false },
  },
});
const config = shapes[values.shape]!;
const threads = Number(values.threads);
const folder = mkdtempSync(path.join(os.tmpdir(), "soma-bench-"));
try {
  const weights = path.join(folder, "model.safetensors");
  const parameters = writeWeights(config, weights);
  const common = { config, weights, weightsHash: "random", kvBlocks: 200, threads, nice: 0, strict: values.strict };
  const models = {} as Record<Dtype, LoadedModel>;
  const loads: string[] = [];
  for (const dtype of dtypes) {
    const start = performance.now();
    models[dtype] = await wasm.load({ ...common, dtype });
    const [seconds, share] = [(performance.now() - start) / 1000, models[dtype].bytes.weights / parameters];
    loads.push(`${dtype} ${seconds.toFixed(1)} s, ${share.toFixed(2)} bytes a parameter`);
  }
  const torch = await startTorch("decode.py", [config, threads]);
  // Written once: pages that nobody wrote are all one page.
  const zeros = Buffer.alloc(2 ** 29).fill(0);
  const steps = values.shape === "135M" ? 24 : 100;
  const measures: [string, Measure][] = [["bandwidth", () => bandwidth(zeros) / 1e9]];
  for (const batch of [1, 8, 16, 32])
    for (const dtype of dtypes)
      measures.push([`${dtype} ${batch}`, () => decode(models[dtype], batch, batch === 1 ? steps : steps / 4)]);
  if (torch) measures.push(["torch 1", there(torch, 1, steps)], ["torch 16", there(torch, 16, steps / 4)]);
  if (values.all) {
    for (const dtype of dtypes) measures.push([`${dtype} prefill`, () => prefill(models[dtype], 512)]);
  }
  const figures = await inTurns(measures, Number(values.rounds));
  const rows: Row[] = [
    { name: "read bandwidth, GB/s", key: "bandwidth" },
    // A step reads each weight once.
    {
      ...{ name: "fp32, batch 1", key: "f32 1", scale: (parameters * 4) / 1e9 },
      against: [["bandwidth", "bandwidth", 0.8]],
    },
    { name: "  the same, beside torch", key: "f32 1", against: [["torch", "torch 1", 3]] },
    { name: "int8, batch 1", key: "int8 1", against: [["fp32", "f32 1", 2]] },
    { name: "int4, batch 1", key: "int4 1", against: [["int8", "int8 1"]] },
    { name: "torch, batch 1", key: "torch 1" },
    { name: "fp32, batch 8", key: "f32 8" },
    { name: "int8, batch 8", key: "int8 8", against: [["fp32", "f32 8"]] },
    { name: "int4, batch 8", key: "int4 8", against: [["fp32", "f32 8"]] },
    { name: "fp32, batch 16", key: "f32 16", against: [["torch", "torch 16", 0.6]] },
    { name: "int8, batch 16", key: "int8 16", against: [["fp32", "f32 16"]] },
    { name: "int4, batch 16", key: "int4 16", against: [["fp32", "f32 16"]] },
    { name: "torch, batch 16", key: "torch 16" },
    { name: "fp32, batch 32", key: "f32 32" },
    { name: "int8, batch 32", key: "int8 32", against: [["fp32", "f32 32"]] },
    { name: "int4, batch 32", key: "int4 32", against: [["fp32", "f32 32"]] },
    { name: "fp32, prefill 512", key: "f32 prefill" },
    { name: "int8, prefill 512", key: "int8 prefill" },
    { name: "int4, prefill 512", key: "int4 prefill" },
  ];
  console.log(`${table("decoding, tokens/s", rows, figures)}\n`);
  const size = `${values.shape}: ${(parameters / 1e6).toFixed(1)}M parameters, ${past} tokens behind`;
  console.log(`${size}; ${values.rounds} rounds in turns; ${threads} thread(s) each.`);
  console.log(`Per second of the clock; torch ${torch?.version ?? "not importable"}.`);
  console.log(`Loading a file of f32: ${loads.join("; ")}.`);
  console.log(`Numerics ${models.f32.numerics}; ${load()} at the end.`);
  await Promise.all(dtypes.map((dtype) => models[dtype].unload()));
  torch?.stop();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
