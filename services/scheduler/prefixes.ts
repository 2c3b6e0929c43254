// Owns which prefixes a device computed lately, as far as the scheduler knows: a guess, used only to choose between devices.
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";

/** Blocks of a prompt that are looked at, and blocks remembered for a device. */
const DEPTH = 64;
const REMEMBERED = 65_536;

/** A number for each whole block of `ids`, which stands for all ids up to its end. Two that collide cost a worse guess, no more. */
export function chainOf(ids: readonly number[]): number[] {
  const blocks = Math.min(DEPTH, Math.floor(ids.length / BLOCK_TOKENS));
  let [high, low] = [0x811c9dc5, 0x9e3779b9];
  return Array.from({ length: blocks }, (_, block) => {
    for (let i = block * BLOCK_TOKENS; i < (block + 1) * BLOCK_TOKENS; i++) {
      high = Math.imul(high ^ ids[i]!, 0x01000193);
      low = Math.imul(low + ids[i]!, 0x85ebca6b) ^ (low >>> 13);
    }
    return (high >>> 0) * 2 ** 21 + (low >>> 11);
  });
}

export class Prefixes {
  /** Oldest first. */
  private readonly seen = new Set<number>();

  add(chain: readonly number[]): void {
    for (const block of chain) {
      this.seen.delete(block);
      this.seen.add(block);
    }
    for (const block of this.seen) {
      if (this.seen.size <= REMEMBERED) break;
      this.seen.delete(block);
    }
  }

  /** Tokens of the longest prefix that is known. */
  cached(chain: readonly number[]): number {
    const missing = chain.findIndex((block) => !this.seen.has(block));
    return (missing < 0 ? chain.length : missing) * BLOCK_TOKENS;
  }
}
