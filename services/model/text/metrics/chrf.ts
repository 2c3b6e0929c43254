// Owns chrF2 as sacrebleu defines it: character n-grams up to 6, recall counts twice (beta 2), white space left out.
import type { Metric } from "./metric.ts";
import { words } from "./whitespace.ts";

const ORDER = 6;
const BETA_SQUARED = 4;

/** Score in 0..100. Counts: for each order, n-grams of the hypothesis, of the reference, and common to both. */
export const chrF: Metric = {
  counts(hypothesis, reference) {
    const ours = [...words(hypothesis).join("")];
    const theirs = [...words(reference).join("")];
    return Array.from({ length: ORDER }, (_, i) => overlap(ngrams(ours, i + 1), ngrams(theirs, i + 1))).flat();
  },
  score(sums) {
    let precision = 0;
    let recall = 0;
    let orders = 0;
    for (let i = 0; i < ORDER * 3; i += 3) {
      const [ours, theirs, common] = [sums[i]!, sums[i + 1]!, sums[i + 2]!];
      // An order that one side is too short for says nothing and is left out of the mean.
      if (ours === 0 || theirs === 0) continue;
      precision += common / ours;
      recall += common / theirs;
      orders++;
    }
    if (precision + recall === 0) return 0;
    precision /= orders;
    recall /= orders;
    return (100 * (1 + BETA_SQUARED) * precision * recall) / (BETA_SQUARED * precision + recall);
  },
};

function ngrams(chars: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + order <= chars.length; i++) {
    const gram = chars.slice(i, i + order).join("");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** sacrebleu's rule: the hypothesis' n-grams do not count where the reference has none of that order. */
function overlap(ours: Map<string, number>, theirs: Map<string, number>): [number, number, number] {
  let common = 0;
  for (const [gram, count] of ours) common += Math.min(count, theirs.get(gram) ?? 0);
  const total = (counts: Map<string, number>) => [...counts.values()].reduce((a, b) => a + b, 0);
  return [theirs.size ? total(ours) : 0, total(theirs), common];
}
