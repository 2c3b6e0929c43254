// Owns the form of a segment: rows of a collection as they lie in one object and, unchanged, in memory.

/** Text and meta are UTF-8, the latter JSON; empty means none. Vectors have length 1. */
export interface Row {
  id: string;
  text: Uint8Array;
  meta: Uint8Array;
  vector?: Float32Array;
}

const FORMAT = 1;
/** Words of 32 bits: format, rows, vectors, floats of each vector, deleted ids. */
const HEAD = 5;
export const HEAD_BYTES = 4 * HEAD;
/** What a row takes beside its own bytes: the ends of its three strings. */
const ROW_BYTES = 12;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** Bytes that a row takes in a segment. */
export function rowBytes({ id, text, meta, vector }: Row): number {
  return ROW_BYTES + Buffer.byteLength(id) + text.length + meta.length + 4 * (vector?.length ?? 0);
}

/**
 * Head, vectors, the ends of all strings, the strings: ids, texts, metas, and the ids of earlier segments' rows that are no more.
 * Rows with a vector come first, so that vector i belongs to row i. No id is twice in a segment. Numbers are little-endian.
 */
export function encodeSegment(rows: readonly Row[], deleted: readonly string[]): Uint8Array {
  const seen = rows.filter(({ vector }) => vector !== undefined);
  const order = [...seen, ...rows.filter(({ vector }) => vector === undefined)];
  const dims = seen[0]?.vector?.length ?? 0;
  const strings = [
    ...order.map(({ id }) => utf8.encode(id)),
    ...order.map((row) => row.text),
    ...order.map(({ meta }) => meta),
    ...deleted.map((id) => utf8.encode(id)),
  ];
  const start = 4 * (HEAD + seen.length * dims + strings.length);
  const bytes = new Uint8Array(strings.reduce((sum, { length }) => sum + length, start));
  const head = new Uint32Array(bytes.buffer, 0, HEAD);
  head.set([FORMAT, rows.length, seen.length, dims, deleted.length]);
  const vectors = new Float32Array(bytes.buffer, HEAD_BYTES, seen.length * dims);
  for (const [i, { vector }] of seen.entries()) vectors.set(vector!, i * dims);
  const ends = new Uint32Array(bytes.buffer, vectors.byteOffset + vectors.byteLength, strings.length);
  let at = start;
  for (const [i, string] of strings.entries()) {
    bytes.set(string, at);
    at += string.length;
    ends[i] = at - start;
  }
  return bytes;
}

export class Segment {
  readonly ids: readonly string[];
  readonly deleted: readonly string[];
  /** Those of the rows that have one, one after the other. */
  readonly vectors: Float32Array;
  readonly vectorCount: number;
  readonly dims: number;
  /** 1 for rows that a later segment replaced or deleted. */
  readonly dead: Uint8Array;
  private readonly ends: Uint32Array;
  private readonly strings: Uint8Array;

  /** `bytes` is kept and must begin its buffer. */
  constructor(
    readonly object: string,
    readonly bytes: Uint8Array,
  ) {
    const [format, rows = 0, vectors = 0, dims = 0, deleted = 0] = new Uint32Array(
      bytes.buffer,
      bytes.byteOffset,
      HEAD,
    );
    if (format !== FORMAT) throw new Error(`segment ${object} has form ${format}; this version reads ${FORMAT}`);
    this.vectorCount = vectors;
    this.dims = dims;
    this.vectors = new Float32Array(bytes.buffer, bytes.byteOffset + HEAD_BYTES, vectors * dims);
    const count = 3 * rows + deleted;
    this.ends = new Uint32Array(bytes.buffer, this.vectors.byteOffset + this.vectors.byteLength, count);
    this.strings = bytes.subarray(4 * (HEAD + vectors * dims + count));
    this.dead = new Uint8Array(rows);
    this.ids = Array.from({ length: rows }, (_, row) => text.decode(this.string(row)));
    this.deleted = Array.from({ length: deleted }, (_, i) => text.decode(this.string(3 * rows + i)));
  }

  row(row: number): Row {
    const { dims } = this;
    const [id, text, meta] = [
      this.ids[row]!,
      this.string(this.ids.length + row),
      this.string(2 * this.ids.length + row),
    ];
    if (row >= this.vectorCount) return { id, text, meta };
    return { id, text, meta, vector: this.vectors.subarray(row * dims, (row + 1) * dims) };
  }

  /** Empty when it has none. */
  text(row: number): string {
    return text.decode(this.string(this.ids.length + row));
  }

  meta(row: number): Record<string, unknown> | undefined {
    const json = this.string(2 * this.ids.length + row);
    return json.length === 0 ? undefined : JSON.parse(text.decode(json));
  }

  private string(i: number): Uint8Array {
    return this.strings.subarray(i === 0 ? 0 : this.ends[i - 1], this.ends[i]);
  }
}
