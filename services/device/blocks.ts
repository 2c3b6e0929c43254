// Owns KV blocks as numbers: which are free, and how many hold each of the others.

export class Blocks {
  private readonly holders: Int32Array;
  private readonly unused: number[];

  constructor(readonly count: number) {
    this.holders = new Int32Array(count);
    // Low numbers first, so that a half-used pool touches half of its pages.
    this.unused = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  get free(): number {
    return this.unused.length;
  }

  /** A block held once, or undefined when none is free. */
  take(): number | undefined {
    const block = this.unused.pop();
    if (block !== undefined) this.holders[block] = 1;
    return block;
  }

  held(block: number): number {
    return this.holders[block]!;
  }

  hold(block: number): void {
    if (this.holders[block] === 0) throw new Error(`KV block ${block} is held after it was freed`);
    this.holders[block]! += 1;
  }

  /** Returns how many hold it still; at 0 it is free. */
  release(block: number): number {
    const left = this.holders[block]! - 1;
    if (left < 0) throw new Error(`KV block ${block} is freed twice`);
    this.holders[block] = left;
    if (left === 0) this.unused.push(block);
    return left;
  }
}
