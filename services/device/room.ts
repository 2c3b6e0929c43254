// Owns the estimate of when KV blocks come free on this device: from what its sequences still have to compute, and the pace. Pure.
import type { Rate } from "./rate.ts";
import { left, type Sequence } from "./sequence.ts";

/** ms until so many blocks come free, those of the sequences that end first; undefined where they have not so many, or before anything was measured. */
export function untilFree(sequences: Iterable<Sequence>, blocks: number, tokens: Rate): number | undefined {
  const ending = [...sequences].sort((a, b) => left(a) - left(b));
  let short = blocks;
  for (const last of ending) {
    short -= last.table.blocks.length;
    if (short > 0) continue;
    // They run together: until it ends, each computes as many tokens as it does, or all that it has left.
    const computed = ending.reduce((sum, other) => sum + Math.min(left(other), left(last)), 0);
    return tokens.ms(computed);
  }
  return undefined;
}
