// Reads a Hugging Face config.json: which family a model is of, and all sizes that the forward pass needs.
import { SomaError } from "../../../../kernel/abi/errors.ts";
import type { modelTypes } from "../../../../kernel/abi/syscalls/device.ts";

/** What sets one family apart from plain Llama. */
interface Family {
  /** Biases on q, k, v. */
  qkvBias: boolean;
  /** RMSNorm on each head of q and k before the rotation. */
  headNorm: boolean;
  /** The config's sliding_window is in use. */
  window: boolean;
  /** Gemma: gains are stored less 1, what attention and MLP give is normed too, embeddings are scaled, GELU gates. */
  gemma: boolean;
}

const llama: Family = { qkvBias: false, headNorm: false, window: false, gemma: false };
const families: Record<(typeof modelTypes)[number], Family> = {
  llama,
  mistral: { ...llama, window: true },
  qwen2: { ...llama, qkvBias: true },
  qwen3: { ...llama, headNorm: true },
  gemma3_text: { ...llama, headNorm: true, window: true, gemma: true },
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
  /** What the scores of attention are multiplied by. */
  scoreScale: number;
  /** By layer. */
  attention: Attention[];
  /** Angle per position of each pair of a head, headWidth / 2 numbers; layers that see a window may have their own. */
  rotations: Float64Array[];
}

export interface Attention {
  /** Positions that a token sees, itself included; 0 = all. */
  visible: number;
  /** Which of the rotations. */
  rotation: number;
}

const unsupported = (what: string): never => {
  throw new SomaError("EINVAL", `config.json: ${what}`);
};

/** EINVAL names the field that is missing, malformed or not supported. */
export function shapeOf(config: Record<string, unknown>): Shape {
  const family =
    (families as Record<string, Family>)[String(config.model_type)] ??
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
  const [field, act] = family.gemma ? ["hidden_activation", "gelu_pytorch_tanh"] : ["hidden_act", "silu"];
  if ((config[field] ?? act) !== act) unsupported(`${field} ${config[field]} is not supported; only ${act}`);
  for (const cap of ["attn_logit_softcapping", "final_logit_softcapping"])
    if (config[cap]) unsupported(`${cap} is not supported`);
  if (config.use_bidirectional_attention) unsupported("use_bidirectional_attention is not supported");
  const context = size("max_position_embeddings", 2048);
  const layers = size("num_hidden_layers");
  const attention = attentionOf(config, family, layers, size);
  const attentionBias = config.attention_bias === true;
  return {
    ...family,
    qkvBias: family.qkvBias || attentionBias,
    outBias: attentionBias,
    mlpBias: config.mlp_bias === true,
    vocab: size("vocab_size"),
    width,
    layers,
    heads,
    kvHeads,
    headWidth,
    ffn: size("intermediate_size"),
    context,
    epsilon: typeof config.rms_norm_eps === "number" ? config.rms_norm_eps : 1e-6,
    // Gemma's configs leave out what is its default.
    tied: (config.tie_word_embeddings ?? family.gemma) === true,
    scoreScale: 1 / Math.sqrt(family.gemma ? size("query_pre_attn_scalar", 256) : headWidth),
    attention,
    rotations: rotationsOf(config, family, headWidth, context),
  };
}

function attentionOf(
  config: Record<string, unknown>,
  { window, gemma }: Family,
  layers: number,
  size: (field: string) => number,
): Attention[] {
  const uses = (config.use_sliding_window ?? window) && config.sliding_window;
  const visible = uses ? size("sliding_window") : 0;
  const kinds = config.layer_types as string[] | undefined;
  if (kinds && (!Array.isArray(kinds) || kinds.length !== layers))
    unsupported(`layer_types must name ${layers} layers`);
  // Before there were layer_types: Gemma's every sixth layer sees all, and the first ones of Qwen do.
  const every = Number(config.sliding_window_pattern ?? config._sliding_window_pattern ?? 6);
  const first = gemma ? 0 : Number(config.max_window_layers ?? 0);
  return Array.from({ length: layers }, (_, layer) => {
    const kind = kinds?.[layer];
    if (kind !== undefined && kind !== "sliding_attention" && kind !== "full_attention")
      unsupported(`layer_types ${kind} is not supported; use full_attention or sliding_attention`);
    const sees = kind ? kind === "sliding_attention" : gemma ? (layer + 1) % every !== 0 : layer >= first;
    return { visible: sees ? visible : 0, rotation: gemma && sees ? 1 : 0 };
  });
}

// transformers 5 has rope_parameters by kind of layer; before, a field of its own held what local layers turn by.
function rotationsOf(
  config: Record<string, unknown>,
  { gemma }: Family,
  headWidth: number,
  context: number,
): Float64Array[] {
  if (!gemma) return [frequencies(config, headWidth, context)];
  const kinds = config.rope_parameters as Record<string, unknown> | undefined;
  const local = kinds?.sliding_attention ?? { rope_theta: config.rope_local_base_freq ?? 10_000 };
  const full = { ...config, rope_theta: config.rope_theta ?? 1_000_000, rope_parameters: kinds?.full_attention };
  return [full, { rope_parameters: local }].map((one) => frequencies(one, headWidth, context));
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
