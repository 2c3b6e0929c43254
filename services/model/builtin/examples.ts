// Owns the last step before training: items of the corpus as ids, in their splits, with their weights.
import type { TokenExample } from "../dataset.ts";
import type { Example } from "../text/records.ts";
import { exampleIds } from "../text/templates.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Recipe } from "./recipe.ts";
import { SPLITS, type Split, splitOf } from "./split.ts";

export interface TrainExample extends TokenExample {
  item: Example;
}

export interface Examples {
  splits: Record<Split, TrainExample[]>;
  /** Items that do not fit the model's context; they are in no split. */
  tooLong: Example[];
}

/** Every item is in exactly one split or in `tooLong`. */
export function builtinExamples(recipe: Recipe, tokenizer: Tokenizer, corpus: readonly Example[]): Examples {
  const splits = Object.fromEntries(SPLITS.map((name) => [name, [] as TrainExample[]])) as Record<
    Split,
    TrainExample[]
  >;
  const tooLong: Example[] = [];
  for (const item of corpus) {
    const example = exampleIds(tokenizer, recipe.templates, item);
    const weight = recipe.sampling[item.origin];
    if (weight === undefined) throw new Error(`recipe.json gives no sampling weight for origin "${item.origin}"`);
    if (example.ids.length > recipe.config.max_position_embeddings) tooLong.push(item);
    else splits[splitOf(item)].push({ ...example, weight, item });
  }
  return { splits, tooLong };
}
