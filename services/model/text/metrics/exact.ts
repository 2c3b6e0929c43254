// Owns exact match: the share of outputs that are the reference, character for character, spaces at the ends aside.
import type { Metric } from "./metric.ts";

/** Score in 0..1. */
export const exactMatch: Metric = {
  counts: (hypothesis, reference) => [hypothesis.trim() === reference.trim() ? 1 : 0, 1],
  score: ([hits = 0, all = 0]) => hits / all,
};
