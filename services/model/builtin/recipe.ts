// Owns the recipe of the built-in model: recipe.json with its types, and the files of the model that follow from it.
import { readFileSync } from "node:fs";
import { type TokenizerJson, trainBpe } from "../text/bpe.ts";
import type { Example } from "../text/records.ts";
import type { Templates } from "../text/templates.ts";
import { splitOf } from "./split.ts";

export interface Recipe {
  name: string;
  description: string;
  /** config.json without the fields that come from the tokenizer. */
  config: Readonly<Record<string, unknown>> & { max_position_embeddings: number };
  tokenizer: { vocabSize: number; specials: string[] };
  templates: Required<Templates>;
  /** How often an item of an origin is drawn, relative to the others. */
  sampling: Readonly<Record<string, number>>;
  training: Training;
}

/** Fields of the device's training spec; those left out have its defaults. */
export interface Training {
  seed: number;
  /** Examples in a step, over all workers. */
  batch: number;
  steps: number;
  /** Peak learning rate: rises over `warmup` steps, then falls along a cosine to `floor` times itself. */
  lr: number;
  warmup: number;
  floor: number;
  /** Decay of the mean squared gradient: less than usual, because the run is short. */
  beta2: number;
  weightDecay: number;
  /** Largest norm of the gradient. */
  clip: number;
  /** Steps between two measurements of the validation loss. */
  evaluateEvery: number;
}

export function builtinRecipe(): Recipe {
  return JSON.parse(readFileSync(new URL("recipe.json", import.meta.url), "utf8")) as Recipe;
}

/** The tokenizer of the recipe, learned from the training split alone. */
export function builtinTokenizer(recipe: Recipe, corpus: readonly Example[]): TokenizerJson {
  const train = corpus.filter((item) => splitOf(item) === "train");
  return trainBpe(
    train.flatMap((item) => [item.source, item.target]),
    recipe.tokenizer,
  );
}

/** config.json, generation_config.json and tokenizer_config.json, as Hugging Face tools read them. */
export function modelFiles(recipe: Recipe, tokenizer: TokenizerJson): Record<string, object> {
  const { vocab } = tokenizer.model;
  const { bos, eos, chat } = recipe.templates;
  const ids = { bos_token_id: vocab[bos], eos_token_id: vocab[eos], pad_token_id: vocab["<|pad|>"] };
  return {
    "config.json": { ...recipe.config, vocab_size: Object.keys(vocab).length, ...ids },
    "generation_config.json": { ...ids, do_sample: false },
    "tokenizer_config.json": {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: bos,
      eos_token: eos,
      pad_token: "<|pad|>",
      chat_template: chat,
      clean_up_tokenization_spaces: false,
      model_max_length: recipe.config.max_position_embeddings,
    },
  };
}
