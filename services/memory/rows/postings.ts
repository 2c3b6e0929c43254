// Owns the index by words of one segment: which rows hold a word and how often, flat, in the order of rows.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Segment } from "./segment.ts";
import { words } from "./words.ts";

/** ms of work after which others get their turn: the service has to beat and to answer meanwhile. */
const SLICE_MS = 20;
/** What a word takes in the heap, about. */
const WORD_BYTES = 100;

export class Postings {
  /** Words of each row; 0 when it has no text. */
  private constructor(
    readonly lengths: Uint32Array,
    private readonly numbers: ReadonlyMap<string, number>,
    /** Where each word's rows begin; one more at the end. */
    private readonly starts: Uint32Array,
    private readonly rows: Uint32Array,
    private readonly counts: Uint32Array,
  ) {}

  static async build(segment: Segment): Promise<Postings> {
    const numbers = new Map<string, number>();
    const lengths = new Uint32Array(segment.ids.length);
    const found: { word: number; row: number; count: number }[] = [];
    let since = performance.now();
    for (let row = 0; row < lengths.length; row++) {
      const counts = new Map<number, number>();
      const list = words(segment.text(row));
      for (const word of list) {
        let number = numbers.get(word);
        if (number === undefined) numbers.set(word, (number = numbers.size));
        counts.set(number, (counts.get(number) ?? 0) + 1);
      }
      lengths[row] = list.length;
      for (const [word, count] of counts) found.push({ word, row, count });
      if (performance.now() - since < SLICE_MS) continue;
      await nextTurn();
      since = performance.now();
    }
    const starts = new Uint32Array(numbers.size + 1);
    for (const { word } of found) starts[word + 1]! += 1;
    for (let word = 0; word < numbers.size; word++) starts[word + 1]! += starts[word]!;
    const next = starts.slice();
    const [rows, counts] = [new Uint32Array(found.length), new Uint32Array(found.length)];
    for (const { word, row, count } of found) {
      const at = next[word]!++;
      rows[at] = row;
      counts[at] = count;
    }
    return new Postings(lengths, numbers, starts, rows, counts);
  }

  /** Calls back for each row that holds the word. */
  each(word: string, visit: (row: number, count: number) => void): void {
    const number = this.numbers.get(word);
    if (number === undefined) return;
    for (let at = this.starts[number]!; at < this.starts[number + 1]!; at++) visit(this.rows[at]!, this.counts[at]!);
  }

  get bytes(): number {
    return 4 * (this.lengths.length + this.starts.length + 2 * this.rows.length) + WORD_BYTES * this.numbers.size;
  }
}
