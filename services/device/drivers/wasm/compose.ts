// Decides which rows the next step computes: one for each sequence that decodes, then prefill chunks as the budget allows.

export interface Pending {
  /** Ids that are still to be fed. */
  waiting: number;
  /** Positions left in the block table and the model's context. */
  room: number;
}

export interface Chunk {
  /** Index into the sequences. */
  of: number;
  count: number;
}

/**
 * Chunks of the next step, at most `budget` rows together; none when nobody can go on. Sequences with one id come first
 * (they decode, somebody waits for their next token); if they alone exceed the budget, `turn` (the step's number) rotates them.
 */
export function compose(pending: readonly Pending[], budget: number, turn: number): Chunk[] {
  const chunks: Chunk[] = [];
  let left = budget;
  const able = pending.flatMap((p, of) =>
    Math.min(p.waiting, p.room) > 0 ? [{ of, count: Math.min(p.waiting, p.room) }] : [],
  );
  const short = able.filter((chunk) => chunk.count === 1);
  const first = short.length > budget ? (turn * budget) % short.length : 0;
  for (let i = 0; i < short.length && left > 0; i++, left--) chunks.push(short[(first + i) % short.length]!);
  for (const { of, count } of able) {
    if (left === 0) break;
    if (count === 1) continue;
    chunks.push({ of, count: Math.min(count, left) });
    left -= Math.min(count, left);
  }
  return chunks;
}
