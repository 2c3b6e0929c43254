// Owns ranking: by cosine, by BM25, and by both, fused by reciprocal rank. Exact: every row is looked at.
import type { Collection } from "./collection.ts";
import { Postings } from "./postings.ts";
import type { Segment } from "./segment.ts";
import { words } from "./words.ts";

export interface Query {
  /** Of length 1. */
  vector?: Float32Array | undefined;
  text?: string | undefined;
  where?: Readonly<Record<string, unknown>> | undefined;
  limit: number;
}

export interface Found {
  segment: Segment;
  row: number;
  score: number;
  cosine?: number;
  bm25?: number;
}

/** How many of each ranking are fused, and the constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009). */
const FUSED = 200;
const RRF = 60;
/** BM25's usual constants: how soon repeated words count less, how much long texts are held back. */
const K1 = 1.2;
const B = 0.75;

/** The best rows, best first; of equal ones that of the lower id. */
export async function search(collection: Collection, { vector, text, where, limit }: Query): Promise<Found[]> {
  if (text !== undefined) await prepare(collection);
  // Nothing waits from here on, so that the answer is of one moment.
  const depth = vector !== undefined && text !== undefined ? Math.max(FUSED, limit) : limit;
  const byMeaning = vector === undefined ? [] : cosines(collection, vector, new Best(depth, where));
  const byWords = text === undefined ? [] : bm25(collection, text, new Best(depth, where));
  if (text === undefined) return byMeaning.map((found) => ({ ...found, cosine: found.score }));
  if (vector === undefined) return byWords.map((found) => ({ ...found, bm25: found.score }));
  return fuse(byMeaning, byWords).slice(0, limit);
}

/** Builds what postings are missing, also those of segments that come meanwhile. */
async function prepare(collection: Collection): Promise<void> {
  for (;;) {
    const segment = collection.segments.find((segment) => !collection.postings.has(segment));
    if (segment === undefined) return;
    collection.postings.set(segment, await Postings.build(segment));
  }
}

function cosines({ segments }: Collection, query: Float32Array, best: Best): Found[] {
  // Doubles: each product would convert the float otherwise.
  const wanted = Float64Array.from(query);
  for (const segment of segments) {
    const { vectors, dims, vectorCount, dead } = segment;
    for (let row = 0; row < vectorCount; row++)
      if (dead[row] === 0) best.offer(segment, row, dot(wanted, vectors, row * dims));
  }
  return best.list;
}

/** Four sums side by side, so that no addition waits for the one before it. */
function dot(a: Float64Array, b: Float32Array, at: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const end = a.length & ~3;
  for (let i = 0; i < end; i += 4) {
    s0 += a[i]! * b[at + i]!;
    s1 += a[i + 1]! * b[at + i + 1]!;
    s2 += a[i + 2]! * b[at + i + 2]!;
    s3 += a[i + 3]! * b[at + i + 3]!;
  }
  for (let i = end; i < a.length; i++) s0 += a[i]! * b[at + i]!;
  return s0 + s1 + (s2 + s3);
}

/** Rows that hold none of the words are not found. Statistics are of the live rows with a text. */
function bm25({ segments, postings }: Collection, text: string, best: Best): Found[] {
  const indexed = segments.map((segment) => ({ segment, index: postings.get(segment)! }));
  let [texts, total] = [0, 0];
  for (const { segment, index } of indexed)
    for (const [row, length] of index.lengths.entries())
      if (length > 0 && segment.dead[row] === 0) [texts, total] = [texts + 1, total + length];
  const scores = indexed.map(({ index }) => new Float64Array(index.lengths.length));
  for (const word of new Set(words(text, true))) {
    const holders: { segment: number; row: number; count: number }[] = [];
    for (const [i, { segment, index }] of indexed.entries())
      index.each(word, (row, count) => segment.dead[row] === 0 && holders.push({ segment: i, row, count }));
    const weight = Math.log(1 + (texts - holders.length + 0.5) / (holders.length + 0.5));
    for (const { segment, row, count } of holders) {
      const length = (indexed[segment]!.index.lengths[row]! * texts) / total;
      scores[segment]![row]! += (weight * count * (K1 + 1)) / (count + K1 * (1 - B + B * length));
    }
  }
  for (const [i, { segment }] of indexed.entries())
    for (const [row, score] of scores[i]!.entries()) if (score > 0) best.offer(segment, row, score);
  return best.list;
}

function fuse(byMeaning: readonly Found[], byWords: readonly Found[]): Found[] {
  const fused = new Map<string, Found>();
  for (const [kind, list] of [
    ["cosine", byMeaning],
    ["bm25", byWords],
  ] as const)
    for (const [rank, { segment, row, score }] of list.entries()) {
      const id = segment.ids[row]!;
      const found = fused.get(id) ?? { segment, row, score: 0 };
      fused.set(id, { ...found, [kind]: score, score: found.score + 1 / (RRF + rank + 1) });
    }
  return [...fused.values()].sort(compare);
}

const idOf = ({ segment, row }: Found) => segment.ids[row]!;
const compare = (a: Found, b: Found) => b.score - a.score || (idOf(a) < idOf(b) ? -1 : 1);

/** The best `limit` of what is offered. The filter reads meta, so only what is good enough is put to it. */
class Best {
  readonly list: Found[] = [];

  constructor(
    private readonly limit: number,
    private readonly where: Readonly<Record<string, unknown>> = {},
  ) {}

  offer(segment: Segment, row: number, score: number): void {
    const { list, limit } = this;
    if (list.length === limit && score < list[limit - 1]!.score) return;
    const found = { segment, row, score };
    if (!this.matches(found)) return;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(list[middle]!, found) < 0) low = middle + 1;
      else high = middle;
    }
    list.splice(low, 0, found);
    if (list.length > limit) list.pop();
  }

  private matches({ segment, row }: Found): boolean {
    const wanted = Object.entries(this.where);
    if (wanted.length === 0) return true;
    const meta = segment.meta(row);
    return meta !== undefined && wanted.every(([name, value]) => Object.hasOwn(meta, name) && meta[name] === value);
  }
}
