// Owns the Llama architecture, with the field and weight names of Hugging Face's config.json and model.safetensors.
import type { Tensor2D } from "@tensorflow/tfjs-core";
import { z } from "zod";
import type { Architecture, Model, Parameter } from "./architecture.ts";
import type { Batch } from "./batch.ts";
import { rotationTables } from "./ops.ts";

const size = z.number().int().positive();

/** What we compute; other fields of a config.json pass through untouched. */
export const llamaConfig = z
  .looseObject({
    architectures: z.array(z.string()).default(["LlamaForCausalLM"]),
    model_type: z.literal("llama").default("llama"),
    vocab_size: size,
    hidden_size: size,
    intermediate_size: size,
    num_hidden_layers: size,
    num_attention_heads: size,
    num_key_value_heads: size.optional(),
    head_dim: size.nullish(),
    max_position_embeddings: size.default(2048),
    rms_norm_eps: z.number().positive().default(1e-6),
    rope_theta: z.number().positive().default(10000),
    rope_scaling: z.null("only unscaled rotary positions are computed here: set rope_scaling to null").default(null),
    tie_word_embeddings: z.boolean().default(false),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    hidden_act: z.literal("silu").default("silu"),
    initializer_range: z.number().positive().default(0.02),
    torch_dtype: z.string().default("float32"),
  })
  .transform((config) => ({
    ...config,
    num_key_value_heads: config.num_key_value_heads ?? config.num_attention_heads,
    head_dim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
  }))
  .refine((c) => Number.isInteger(c.head_dim) && c.head_dim % 2 === 0, {
    path: ["head_dim"],
    error: "hidden_size / num_attention_heads must be an even whole number",
  })
  .refine((c) => c.num_attention_heads % c.num_key_value_heads === 0, {
    path: ["num_key_value_heads"],
    error: "must divide num_attention_heads",
  });

export type LlamaConfig = z.infer<typeof llamaConfig>;

function parameters(c: LlamaConfig): Parameter[] {
  const std = c.initializer_range;
  // The two projections that write into the residual stream start smaller, so that its size does not grow with depth.
  const residual = std / Math.sqrt(2 * c.num_hidden_layers);
  const list: Parameter[] = [];
  const norm = (name: string) => list.push({ name: `${name}.weight`, shape: [c.hidden_size], start: { constant: 1 } });
  const linear = (name: string, out: number, into: number, normal = std, bias = false) => {
    list.push({ name: `${name}.weight`, shape: [out, into], start: { normal } });
    if (bias) list.push({ name: `${name}.bias`, shape: [out], start: { constant: 0 } });
  };
  const [q, kv] = [c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim];
  linear("model.embed_tokens", c.vocab_size, c.hidden_size);
  for (let l = 0; l < c.num_hidden_layers; l++) {
    const [attention, mlp] = [`model.layers.${l}.self_attn`, `model.layers.${l}.mlp`];
    norm(`model.layers.${l}.input_layernorm`);
    linear(`${attention}.q_proj`, q, c.hidden_size, std, c.attention_bias);
    linear(`${attention}.k_proj`, kv, c.hidden_size, std, c.attention_bias);
    linear(`${attention}.v_proj`, kv, c.hidden_size, std, c.attention_bias);
    linear(`${attention}.o_proj`, c.hidden_size, q, residual, c.attention_bias);
    norm(`model.layers.${l}.post_attention_layernorm`);
    linear(`${mlp}.gate_proj`, c.intermediate_size, c.hidden_size, std, c.mlp_bias);
    linear(`${mlp}.up_proj`, c.intermediate_size, c.hidden_size, std, c.mlp_bias);
    linear(`${mlp}.down_proj`, c.hidden_size, c.intermediate_size, residual, c.mlp_bias);
  }
  norm("model.norm");
  if (!c.tie_word_embeddings) linear("lm_head", c.vocab_size, c.hidden_size);
  return list;
}

/** The final hidden states, normed, of the rows in `batch.outputs` (of every row if that is absent): [rows, hidden]. */
export function llamaStates({ tf, ops, config: c, weight, constants }: Model<LlamaConfig>, batch: Batch): Tensor2D {
  const layout = batch.layout!;
  const rotation = constants as { cos: Tensor2D; sin: Tensor2D };
  const [heads, kvHeads] = [c.num_attention_heads, c.num_key_value_heads];
  const linear = (x: Tensor2D, name: string) => ops.linear(x, weight(`${name}.weight`), weight(`${name}.bias`));
  const norm = (x: Tensor2D, name: string) => ops.rmsNorm(x, weight(`${name}.weight`), c.rms_norm_eps);

  // x: [rows, hidden] throughout
  let x = ops.embed(weight("model.embed_tokens.weight"), batch.ids!);
  for (let l = 0; l < c.num_hidden_layers; l++) {
    const [attention, mlp] = [`model.layers.${l}.self_attn`, `model.layers.${l}.mlp`];
    const a = norm(x, `model.layers.${l}.input_layernorm`);
    const q = ops.rope(linear(a, `${attention}.q_proj`), heads, rotation, layout);
    const k = ops.rope(linear(a, `${attention}.k_proj`), kvHeads, rotation, layout);
    const mixed = ops.attention(q, k, linear(a, `${attention}.v_proj`), heads, kvHeads, layout);
    x = tf.add(x, linear(mixed, `${attention}.o_proj`));
    const m = norm(x, `model.layers.${l}.post_attention_layernorm`);
    const hidden = ops.swiglu(linear(m, `${mlp}.gate_proj`), linear(m, `${mlp}.up_proj`));
    x = tf.add(x, linear(hidden, `${mlp}.down_proj`));
  }
  // Only the rows that somebody asked for go through the largest matrix.
  if (batch.outputs) x = ops.embed(x, batch.outputs);
  return norm(x, "model.norm");
}

export const llama: Architecture<LlamaConfig> = {
  config: llamaConfig as any,
  data: "tokens",
  parameters,
  constants: (tf, c) => ({ ...rotationTables(tf, c.max_position_embeddings, c.head_dim, c.rope_theta) }),

  forward(model, batch) {
    const head = model.config.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
    return model.ops.linear(llamaStates(model, batch), model.weight(`${head}.weight`));
  },

  loss: () => "crossEntropy",
  outputs: (c) => c.vocab_size,
  limits: (c) => ({ inputs: c.vocab_size, rows: c.max_position_embeddings }),

  activations(c, { rows, outputs, squares, longest }) {
    const [q, kv] = [c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim];
    // Per row and layer: two norms with their roots, two products and two sums for the residual, q and k before and after
    // rotation, v, the mix, gate, up and their product; per example a [T, T] a head. On the way back TensorFlow.js keeps two
    // sums' gradients, and the second and further parts of each gradient that it adds up: five.
    const layer =
      rows * (13 * c.hidden_size + 2 + 3 * q + 3 * kv + 3 * c.intermediate_size) + squares * c.num_attention_heads;
    // The way back also holds the gradients of one half layer, and those of the output.
    const backward = rows * (4 * c.hidden_size + 3 * c.intermediate_size) + longest * longest;
    const head = outputs * (3 * c.vocab_size + 4 * c.hidden_size) + 2 * c.vocab_size * c.hidden_size;
    return c.num_hidden_layers * layer + backward + head + 2 * c.max_position_embeddings * c.head_dim;
  },
};
