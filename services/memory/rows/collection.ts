// Owns a collection in memory: a log of segments, of which later ones win, and what is to be written for a change.
import type { Postings } from "./postings.ts";
import { encodeSegment, HEAD_BYTES, type Row, rowBytes, type Segment } from "./segment.ts";

/** No segment gets larger, so that no change writes more than about this much, compaction aside. */
export const SEGMENT_BYTES = 32 * 1024 * 1024;
/** So much larger than all after it a segment may be to be merged with them: rows differ in size, and counting up must not stall. */
const MERGE = 1.5;
/** What a row's id takes in the heap, about: string, place, entry of the map. */
const ID_BYTES = 160;

/** Segments before `from` stay; those from there on are replaced by the pieces, all at once. `rows` will be alive then. */
export interface Change {
  from: number;
  pieces: Uint8Array[];
  rows: number;
}

export class Collection {
  /** A new array for each change. */
  segments: readonly Segment[] = [];
  /** Built when somebody first searches by words. */
  readonly postings = new WeakMap<Segment, Postings>();
  private readonly places = new Map<string, { segment: Segment; row: number }>();

  constructor(
    segments: readonly Segment[],
    private readonly segmentBytes = SEGMENT_BYTES,
  ) {
    this.replace(0, segments);
  }

  /** Rows that are not dead. */
  get rows(): number {
    return this.places.size;
  }

  has(id: string): boolean {
    return this.places.has(id);
  }

  /** Floats of each vector; 0 when there is none. */
  get dims(): number {
    return this.segments.find(({ vectorCount }) => vectorCount > 0)?.dims ?? 0;
  }

  /** Stored bytes. */
  get bytes(): number {
    return this.segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** About what it takes in memory. */
  get loadedBytes(): number {
    const postings = this.segments.reduce((sum, segment) => sum + (this.postings.get(segment)?.bytes ?? 0), 0);
    return this.bytes + postings + ID_BYTES * this.places.size;
  }

  /**
   * What is to be written so that `rows` (no id twice) are in and `deleted` are out. The last segments are merged with them as long as
   * each is not much larger than all after it, so that there are few segments and each row is rewritten a few times only. Everything is
   * rewritten when more than half of what lies there is dead, or when asked to `compact`.
   */
  change(rows: readonly Row[], deleted: readonly string[], compact = false): Change {
    const replaced = new Set([...rows.map(({ id }) => id), ...deleted]);
    const gone = [...replaced].filter((id) => this.places.has(id)).length;
    const live = this.places.size - gone + rows.length;
    const entries = this.segments.reduce(
      (sum, segment) => sum + segment.ids.length + segment.deleted.length,
      replaced.size,
    );
    const from =
      compact || 2 * live < entries ? 0 : this.tail(rows.reduce((sum, row) => sum + rowBytes(row), HEAD_BYTES));
    const kept: Row[] = [];
    const dropped = new Set(deleted);
    for (const segment of this.segments.slice(from)) {
      // A row put back after it was deleted comes in a later segment, and takes the id out again.
      for (const id of segment.deleted) dropped.add(id);
      for (const [row, id] of segment.ids.entries()) {
        if (segment.dead[row] === 1 || replaced.has(id)) continue;
        dropped.delete(id);
        kept.push(segment.row(row));
      }
    }
    for (const { id } of rows) dropped.delete(id);
    return { from, pieces: this.cut([...kept, ...rows], from === 0 ? [] : [...dropped]), rows: live };
  }

  /** Takes over what was written for a change. */
  replace(from: number, pieces: readonly Segment[]): void {
    for (const segment of this.segments.slice(from))
      for (const id of segment.ids) if (this.places.get(id)?.segment === segment) this.places.delete(id);
    for (const segment of pieces) {
      for (const id of segment.deleted) this.kill(id);
      for (const [row, id] of segment.ids.entries()) {
        this.kill(id);
        this.places.set(id, { segment, row });
      }
    }
    this.segments = [...this.segments.slice(0, from), ...pieces];
  }

  private kill(id: string): void {
    const place = this.places.get(id);
    if (place === undefined) return;
    place.segment.dead[place.row] = 1;
    this.places.delete(id);
  }

  private tail(size: number): number {
    let from = this.segments.length;
    for (let total = size; from > 0; from--) {
      const { length } = this.segments[from - 1]!.bytes;
      if (length > MERGE * total || length + total > this.segmentBytes) break;
      total += length;
    }
    return from;
  }

  private cut(rows: readonly Row[], deleted: readonly string[]): Uint8Array[] {
    const pieces: Row[][] = [];
    let size = Number.POSITIVE_INFINITY;
    for (const row of rows) {
      size += rowBytes(row);
      if (size > this.segmentBytes) {
        pieces.push([]);
        size = rowBytes(row);
      }
      pieces.at(-1)!.push(row);
    }
    if (pieces.length === 0 && deleted.length > 0) pieces.push([]);
    return pieces.map((piece, i) => encodeSegment(piece, i === 0 ? deleted : []));
  }
}
