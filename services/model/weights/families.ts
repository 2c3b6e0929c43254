// Owns what GGUF calls things: architectures, the sizes of config.json, and tensors, as Hugging Face names them.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Gguf, Value } from "./gguf.ts";

interface Family {
  modelType: string;
  /** llama.cpp keeps the rows of each head of q and k as pairs (i, i + half) side by side. */
  paired: boolean;
  /** Gains have 1 added. */
  raised: boolean;
  /** What the file does not say. */
  fixed: Record<string, unknown>;
}

/** By general.architecture. */
const families: Record<string, Family> = {
  llama: { modelType: "llama", paired: true, raised: false, fixed: { hidden_act: "silu" } },
  qwen2: { modelType: "qwen2", paired: false, raised: false, fixed: { hidden_act: "silu", use_sliding_window: false } },
  qwen3: { modelType: "qwen3", paired: false, raised: false, fixed: { hidden_act: "silu", use_sliding_window: false } },
  gemma3: {
    ...{ modelType: "gemma3_text", paired: false, raised: true },
    fixed: { hidden_activation: "gelu_pytorch_tanh", rope_local_base_freq: 10_000, sliding_window_pattern: 6 },
  },
};

/** Tensor names, without what stands before "blk." and its number. */
const OUTER: Record<string, string> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};
const INNER: Record<string, string> = {
  ...{ attn_norm: "input_layernorm", attn_q_norm: "self_attn.q_norm", attn_k_norm: "self_attn.k_norm" },
  ...{ attn_q: "self_attn.q_proj", attn_k: "self_attn.k_proj", attn_v: "self_attn.v_proj" },
  ...{ attn_output: "self_attn.o_proj", ffn_gate: "mlp.gate_proj", ffn_up: "mlp.up_proj", ffn_down: "mlp.down_proj" },
};
/** Of norms that Gemma has more of. */
const NORMS: Record<"plain" | "gemma", Record<string, string>> = {
  plain: { ffn_norm: "post_attention_layernorm" },
  gemma: {
    ...{ post_attention_norm: "post_attention_layernorm", ffn_norm: "pre_feedforward_layernorm" },
    post_ffw_norm: "post_feedforward_layernorm",
  },
};
/** Divisors of llama 3's rotation; config.json says how they come about. */
export const ROPE_FREQS = "rope_freqs.weight";

const refuse = (path: string, what: string): never => {
  throw new SomaError("EINVAL", `${path}: ${what}`);
};

export function familyOf({ path, metadata }: Gguf): Family {
  const name = String(metadata.get("general.architecture"));
  const known = Object.keys(families).join(", ");
  if (!Object.hasOwn(families, name)) refuse(path, `architecture ${name} is not supported; use one of ${known}`);
  return families[name]!;
}

/** Hugging Face's name of a tensor. EINVAL for one that this architecture does not have. */
export function nameOf(gguf: Gguf, tensor: string): string {
  const [, layer, part = "", kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(tensor) ?? [];
  const inner = { ...INNER, ...NORMS[familyOf(gguf).raised ? "gemma" : "plain"] };
  const found = (layer === undefined ? OUTER : inner)[part];
  if (found === undefined) return refuse(gguf.path, `tensor ${tensor} is not supported in this architecture`);
  return layer === undefined ? `${found}.${kind}` : `model.layers.${layer}.${found}.${kind}`;
}

/** config.json, from the metadata. `ropeFreqs`: the numbers of ROPE_FREQS, if it is there. EINVAL names what is missing. */
export function configOf(gguf: Gguf, ropeFreqs?: readonly number[]): Record<string, unknown> {
  const { path, metadata, tensors } = gguf;
  const { modelType, raised, fixed } = familyOf(gguf);
  const get = (key: string): Value | undefined => metadata.get(`${metadata.get("general.architecture")}.${key}`);
  const number = (key: string, fallback?: number): number => {
    const value = get(key) ?? fallback;
    return typeof value === "number" ? value : refuse(path, `metadata ${key} must be a number, not ${value}`);
  };
  const [width, heads] = [number("embedding_length"), number("attention.head_count")];
  const headWidth = number("attention.key_length", number("rope.dimension_count", width / heads));
  if (number("attention.value_length", headWidth) !== headWidth) refuse(path, "keys and values of different width");
  if (number("rope.dimension_count", headWidth) !== headWidth) refuse(path, "rotation of a part of each head");
  if (number("expert_count", 0) > 0) refuse(path, "experts (MoE) are not supported");
  const vocab = tensors.get("token_embd.weight")?.shape[0] ?? refuse(path, "tensor token_embd.weight is missing");
  const window = number("attention.sliding_window", 0);
  return {
    ...{ model_type: modelType, vocab_size: vocab, hidden_size: width, ...fixed },
    num_hidden_layers: number("block_count"),
    intermediate_size: number("feed_forward_length"),
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv", heads),
    head_dim: headWidth,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: number("attention.layer_norm_rms_epsilon"),
    rope_theta: number("rope.freq_base", 10_000),
    rope_scaling: scalingOf(path, get, ropeFreqs),
    tie_word_embeddings: !tensors.has("output.weight"),
    ...(modelType === "llama" && tensors.has("blk.0.attn_q.bias") ? { attention_bias: true } : {}),
    ...(window > 0 ? { sliding_window: window } : {}),
    // The 27B model is the one that scales by its width and not by its heads'.
    ...(raised ? { query_pre_attn_scalar: number("block_count") === 62 ? width / heads : headWidth } : {}),
    bos_token_id: metadata.get("tokenizer.ggml.bos_token_id"),
    eos_token_id: metadata.get("tokenizer.ggml.eos_token_id"),
  };
}

function scalingOf(path: string, get: (key: string) => Value | undefined, freqs?: readonly number[]): object | null {
  if (freqs) {
    // All of Llama 3 was stretched from 8192 positions between these wavelengths; only the factor differs.
    const scaling = { rope_type: "llama3", factor: Math.max(...freqs), low_freq_factor: 1, high_freq_factor: 4 };
    const [old, theta] = [8192, Number(get("rope.freq_base") ?? 10_000)];
    const right = freqs.every((divisor, i) => {
      const turns = (old * theta ** (-i / freqs.length)) / (2 * Math.PI);
      const share = Math.min(1, Math.max(0, (turns - 1) / 3));
      return Math.abs(divisor - 1 / ((1 - share) / scaling.factor + share)) < 1e-3 * divisor;
    });
    if (!right) refuse(path, `${ROPE_FREQS} is not llama 3's scaling, and no other is supported`);
    return { ...scaling, original_max_position_embeddings: old };
  }
  const type = get("rope.scaling.type") ?? "none";
  const factor = Number(get("rope.scaling.factor") ?? 1);
  if (type === "none" || (type === "linear" && factor === 1)) return null;
  if (type === "linear") return { rope_type: "linear", factor };
  return refuse(path, `rope.scaling.type ${type} is not supported; use none, linear or llama 3's`);
}
