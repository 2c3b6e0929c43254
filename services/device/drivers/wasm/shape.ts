// Reads a Hugging Face config.json: which family a model is of, and all sizes that the forward pass needs.
import { SomaError } from "../../../../kernel/abi/errors.ts";

/** What sets one family apart from plain Llama. */
interface Family {
  /** Biases on q, k, v. */
  qkvBias: boolean;
  /** RMSNorm on each head of q and k before the rotation. */
  headNorm: boolean;
  /** The config's sliding_window is in use. */
  window: boolean;
}

const families: Record<string, Family> = {
  llama: { qkvBias: false, headNorm: false, window: false },
  mistral: { qkvBias: false, headNorm: false, window: true },
  qwen2: { qkvBias: true, headNorm: false, window: false },
  qwen3: { qkvBias: false, headNorm: true, window: false },
};

export interface Shape extends Family {
  vocab: number;
  width: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headWidth: number;
  ffn: number;
  context: number;
  epsilon: number;
  tied: boolean;
  outBias: boolean;
  mlpBias: boolean;
  /** Positions that a token sees, itself included; 0 = all. */
  visible: number;
  /** Angle per position of each pair of a head, headWidth / 2 numbers. */
  frequencies: Float64Array;
}

const unsupported = (what: string): never => {
  throw new SomaError("EINVAL", `config.json: ${what}`);
};

/** EINVAL names the field that is missing, malformed or not supported. */
export function shapeOf(config: Record<string, unknown>): Shape {
  const family =
    families[String(config.model_type)] ??
    unsupported(`model_type ${config.model_type} is not supported; use one of ${Object.keys(families).join(", ")}`);
  const size = (field: string, fallback?: number): number => {
    const value = config[field] ?? fallback;
    if (Number.isInteger(value) && (value as number) > 0) return value as number;
    return unsupported(`${field} must be a positive integer, not ${JSON.stringify(value)}`);
  };
  const width = size("hidden_size");
  const heads = size("num_attention_heads");
  const kvHeads = size("num_key_value_heads", heads);
  const headWidth = size("head_dim", Math.floor(width / heads));
  if (heads % kvHeads) unsupported(`${heads} heads cannot share ${kvHeads} KV heads evenly`);
  if (headWidth % 8) unsupported(`head_dim ${headWidth} is not a multiple of 8`);
  if (width % 4) unsupported(`hidden_size ${width} is not a multiple of 4`);
  if ((config.hidden_act ?? "silu") !== "silu")
    unsupported(`hidden_act ${config.hidden_act} is not supported; only silu`);
  const context = size("max_position_embeddings", 2048);
  const uses = config.use_sliding_window ?? family.window;
  const attentionBias = config.attention_bias === true;
  return {
    ...family,
    qkvBias: family.qkvBias || attentionBias,
    outBias: attentionBias,
    mlpBias: config.mlp_bias === true,
    vocab: size("vocab_size"),
    width,
    layers: size("num_hidden_layers"),
    heads,
    kvHeads,
    headWidth,
    ffn: size("intermediate_size"),
    context,
    epsilon: typeof config.rms_norm_eps === "number" ? config.rms_norm_eps : 1e-6,
    tied: config.tie_word_embeddings === true,
    visible: uses && config.sliding_window ? size("sliding_window") : 0,
    frequencies: frequencies(config, headWidth, context),
  };
}

// Rotation frequencies, as transformers computes them for each rope_type.
function frequencies(config: Record<string, unknown>, headWidth: number, context: number): Float64Array {
  // transformers 5 moved everything into rope_parameters; before, rope_scaling held the type and rope_theta stood alone.
  const rope = (config.rope_parameters ?? config.rope_scaling ?? {}) as Record<string, unknown>;
  const number = (value: unknown, fallback: number): number => (typeof value === "number" ? value : fallback);
  const theta = number(rope.rope_theta ?? config.rope_theta, 10_000);
  const plain = Float64Array.from({ length: headWidth / 2 }, (_, i) => theta ** ((-2 * i) / headWidth));
  const type = rope.rope_type ?? rope.type ?? "default";
  const factor = number(rope.factor, 1);
  if (type === "default") return plain;
  if (type === "linear") return plain.map((frequency) => frequency / factor);
  if (type !== "llama3") return unsupported(`rope_type ${type} is not supported; use default, linear or llama3`);
  // Wavelengths above `old / low` are stretched by the factor, those below `old / high` stay, between them it is a blend.
  const old = number(rope.original_max_position_embeddings, context);
  const low = number(rope.low_freq_factor, 1);
  const high = number(rope.high_freq_factor, 4);
  return plain.map((frequency) => {
    const blend = ((old * frequency) / (2 * Math.PI) - low) / (high - low);
    const share = Math.min(1, Math.max(0, blend));
    return (1 - share) * (frequency / factor) + share * frequency;
  });
}
