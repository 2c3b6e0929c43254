// Makes small random models on disk, as Hugging Face lays them out, and removes them again.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

export type Config = Record<string, any>;
export type Weights = Record<string, { shape: number[]; data: Float32Array }>;

export const llama = (extra: Config = {}): Config => ({
  ...{ model_type: "llama", vocab_size: 83, hidden_size: 24, num_hidden_layers: 2, num_attention_heads: 6 },
  ...{ num_key_value_heads: 2, head_dim: 8, intermediate_size: 44, max_position_embeddings: 128 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true, hidden_act: "silu" },
  ...extra,
});

/** Normal-ish weights from a fixed seed, large enough that attention and activations are far from linear. */
export function randomWeights(config: Config, seed = 7): Weights {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const weights: Weights = {};
  const add = (name: string, shape: number[], scale: number, mean = 0) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) data[i] = mean + scale * (uniform() + uniform() + uniform() - 1.5) * 2;
    weights[name] = { shape, data };
  };
  const { hidden_size: width, intermediate_size: ffn, vocab_size: vocab, head_dim: head } = config;
  const [q, kv] = [config.num_attention_heads * head, config.num_key_value_heads * head];
  const qwen2 = config.model_type === "qwen2" || config.attention_bias;
  add("model.embed_tokens.weight", [vocab, width], 1);
  if (!config.tie_word_embeddings) add("lm_head.weight", [vocab, width], 0.5);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const linear = (name: string, rows: number, columns: number, bias: boolean) => {
      add(`model.layers.${layer}.${name}.weight`, [rows, columns], 1.5 / Math.sqrt(columns));
      if (bias) add(`model.layers.${layer}.${name}.bias`, [rows], 0.3);
    };
    linear("self_attn.q_proj", q, width, qwen2);
    linear("self_attn.k_proj", kv, width, qwen2);
    linear("self_attn.v_proj", kv, width, qwen2);
    linear("self_attn.o_proj", width, q, config.attention_bias);
    linear("mlp.gate_proj", ffn, width, config.mlp_bias);
    linear("mlp.up_proj", ffn, width, config.mlp_bias);
    linear("mlp.down_proj", width, ffn, config.mlp_bias);
    const gain = (name: string, length: number) => add(`model.layers.${layer}.${name}.weight`, [length], 0.2, 1);
    gain("input_layernorm", width);
    gain("post_attention_layernorm", width);
    if (config.model_type === "qwen3") gain("self_attn.q_norm", head);
    if (config.model_type === "qwen3") gain("self_attn.k_norm", head);
  }
  add("model.norm.weight", [width], 0.2, 1);
  return weights;
}

export type FileType = "F32" | "F16" | "BF16";

/** Rounds in place what the file will hold, so that a reference sees the same numbers. Truncation suffices for BF16. */
export function roundTo(type: FileType, weights: Weights): Weights {
  for (const { data } of Object.values(weights))
    for (let i = 0; i < data.length; i++) data[i] = decode(type, encode(type, data[i]!));
  return weights;
}

const word = new DataView(new ArrayBuffer(4));

// Halves here are normal numbers or zero; smaller ones are flushed.
function encode(type: FileType, value: number): number {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  if (type === "F32") return bits;
  if (type === "BF16") return bits >>> 16;
  const exponent = ((bits >>> 23) & 255) - 112;
  return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

function decode(type: FileType, bits: number): number {
  if (type === "F16")
    return (
      (bits & 0x8000 ? -1 : 1) * (bits & 0x7fff ? 2 ** (((bits >>> 10) & 31) - 15) * (1 + (bits & 1023) / 1024) : 0)
    );
  word.setUint32(0, type === "BF16" ? bits << 16 : bits);
  return word.getFloat32(0);
}

export function safetensors(weights: Weights, type: FileType = "F32"): Buffer {
  const size = type === "F32" ? 4 : 2;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(weights)) {
    header[name] = { dtype: type, shape, data_offsets: [end, end + size * data.length] };
    end += size * data.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const out = Buffer.alloc(8 + json.length + end);
  out.writeBigUInt64LE(BigInt(json.length));
  json.copy(out, 8);
  let at = 8 + json.length;
  for (const { data } of Object.values(weights))
    for (const value of data) {
      if (size === 4) out.writeUInt32LE(encode(type, value) >>> 0, at);
      else out.writeUInt16LE(encode(type, value), at);
      at += size;
    }
  return out;
}

const folder = mkdtempSync(path.join(os.tmpdir(), "soma-wasm-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** Writes `bytes` to a file that goes when the test ends. */
export function file(bytes: Uint8Array): string {
  const name = path.join(folder, `${files++}.safetensors`);
  writeFileSync(name, bytes);
  return name;
}
