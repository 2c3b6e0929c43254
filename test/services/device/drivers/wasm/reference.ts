// A plain Llama forward pass in double precision, written from the papers and transformers' modelling code, for comparison.
import type { Config, Weights } from "./files.ts";

/** Logits after each of `ids`, and the final hidden states. Everything is computed anew: no cache, no batches. */
export function forward(config: Config, weights: Weights, ids: number[]): { logits: number[][]; hidden: number[][] } {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: size, rms_norm_eps: epsilon } = config;
  const get = (name: string) => weights[name]!.data;
  const linear = (x: number[], name: string): number[] => {
    const matrix = get(`${name}.weight`);
    const bias = weights[`${name}.bias`]?.data;
    return Array.from({ length: matrix.length / x.length }, (_, row) =>
      x.reduce((sum, value, k) => sum + value * matrix[row * x.length + k]!, bias?.[row] ?? 0),
    );
  };
  const norm = (x: number[], name: string): number[] => {
    const inverse = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + epsilon);
    return x.map((v, i) => v * inverse * get(`${name}.weight`)[i]!);
  };
  const rotate = (x: number[], position: number): number[] => {
    const half = size / 2;
    return x.map((value, i) => {
      const angle = position * frequency(config, i % half);
      return value * Math.cos(angle) + (i < half ? -x[i + half]! : x[i - half]!) * Math.sin(angle);
    });
  };
  const split = (x: number[], parts: number) =>
    Array.from({ length: parts }, (_, i) => x.slice(i * size, (i + 1) * size));
  const window = config.sliding_window ?? Number.POSITIVE_INFINITY;

  let states = ids.map((id) =>
    Array.from(get("model.embed_tokens.weight").slice(id * config.hidden_size, (id + 1) * config.hidden_size)),
  );
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `model.layers.${layer}`;
    const headNorm = (x: number[], which: string) =>
      config.model_type === "qwen3" ? norm(x, `${name}.self_attn.${which}_norm`) : x;
    const normed = states.map((x) => norm(x, `${name}.input_layernorm`));
    const q = normed.map((x, t) =>
      split(linear(x, `${name}.self_attn.q_proj`), heads).map((h) => rotate(headNorm(h, "q"), t)),
    );
    const k = normed.map((x, t) =>
      split(linear(x, `${name}.self_attn.k_proj`), kvHeads).map((h) => rotate(headNorm(h, "k"), t)),
    );
    const v = normed.map((x) => split(linear(x, `${name}.self_attn.v_proj`), kvHeads));
    states = states.map((x, t) => {
      const mixed = q[t]!.flatMap((query, head) => {
        const group = Math.floor((head * kvHeads) / heads);
        const scores = k
          .slice(0, t + 1)
          .map((key, past) =>
            t - past >= window
              ? Number.NEGATIVE_INFINITY
              : query.reduce((sum, a, d) => sum + a * key[group]![d]!, 0) / Math.sqrt(size),
          );
        const peak = Math.max(...scores);
        const shares = scores.map((s) => Math.exp(s - peak));
        const total = shares.reduce((a, b) => a + b, 0);
        return query.map((_, d) => shares.reduce((sum, s, past) => sum + (s / total) * v[past]![group]![d]!, 0));
      });
      const attended = linear(mixed, `${name}.self_attn.o_proj`);
      return x.map((value, i) => value + attended[i]!);
    });
    states = states.map((x) => {
      const y = norm(x, `${name}.post_attention_layernorm`);
      const up = linear(y, `${name}.mlp.up_proj`);
      const gated = linear(y, `${name}.mlp.gate_proj`).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
      const down = linear(gated, `${name}.mlp.down_proj`);
      return x.map((value, i) => value + down[i]!);
    });
  }
  const hidden = states.map((x) => norm(x, "model.norm"));
  const head = config.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
  return { hidden, logits: hidden.map((x) => linear(x, head)) };
}

function frequency(config: Config, i: number): number {
  const plain = config.rope_theta ** ((-2 * i) / config.head_dim);
  const scaling = config.rope_scaling;
  if (!scaling) return plain;
  if (scaling.rope_type === "linear") return plain / scaling.factor;
  const wavelength = (2 * Math.PI) / plain;
  const old = scaling.original_max_position_embeddings;
  if (wavelength < old / scaling.high_freq_factor) return plain;
  if (wavelength > old / scaling.low_freq_factor) return plain / scaling.factor;
  const smooth = (old / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return ((1 - smooth) * plain) / scaling.factor + smooth * plain;
}

export function logSoftmax(logits: number[]): number[] {
  const peak = Math.max(...logits);
  const logSum = peak + Math.log(logits.reduce((sum, l) => sum + Math.exp(l - peak), 0));
  return logits.map((l) => l - logSum);
}
