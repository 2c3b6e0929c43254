// Owns what the scheduler's bench runs: the model, and the seeded lengths and arrivals of every table. All of it is fixed here.

/** 15.2 million parameters, random: what a step costs does not depend on their values. */
export const MODEL_15M = {
  ...{ model_type: "llama", vocab_size: 32000, hidden_size: 288, num_hidden_layers: 6, num_attention_heads: 6 },
  ...{ num_key_value_heads: 6, head_dim: 48, intermediate_size: 768, max_position_embeddings: 2048 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true, hidden_act: "silu" },
};

/** Parameters of one row's matrix products: all layers, and the output layer, which only sampled rows go through. */
export const PARAMETERS = {
  body: MODEL_15M.num_hidden_layers * (4 * 288 * 288 + 3 * 288 * 768),
  head: MODEL_15M.vocab_size * MODEL_15M.hidden_size,
};

/** Of KV: keys and values of 16 positions in all layers. */
export const BLOCK_BYTES = 2 * MODEL_15M.num_hidden_layers * MODEL_15M.hidden_size * 4 * 16;

/** One request as an agent makes it. Times in ms. */
export interface Agent {
  app: string;
  ids: number[];
  maxNew: number;
  /** After the start of the run. */
  arrival: number;
  priority: number;
  /** After its arrival. */
  ttl: number;
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function prompt(length: number, seed: number): number[] {
  const next = random(seed);
  return Array.from({ length }, () => Math.floor(next() * MODEL_15M.vocab_size));
}

/** The agents of table 1: eight apps, prompts of 8 to 24 ids, 4 to 12 new ones, 4 ms between two arrivals in the mean. */
export function agents(count: number, seed = 6): Agent[] {
  const next = random(seed);
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1));
  let arrival = 0;
  return Array.from({ length: count }, (_, i) => {
    arrival += -4 * Math.log(1 - next());
    return {
      app: `app-${between(0, 7)}`,
      ids: prompt(between(8, 24), 1000 * seed + i),
      maxNew: between(4, 12),
      arrival,
      priority: between(0, 2),
      ttl: between(120, 600) * 1000,
    };
  });
}
