// Owns how collections are kept: a record that names the segments in order, and an object for each.
import { LIMITS } from "../../../kernel/abi/limits.ts";
import type { Objects } from "../../../kernel/ipc/objects.ts";
import type { Kv } from "../../../kernel/ipc/store.ts";
import { Segment } from "./segment.ts";

/**
 * Kept in bucket `data` under `_rows.<namespace>.<collection>`; no namespace starts with "_". The record is what counts: objects are
 * stored first and recorded then, all of a change at once, and what they replace is deleted last. A crash in between leaves
 * objects that no record knows, which the next start removes.
 */
export interface RowsRecord {
  rows: number;
  dims: number;
  segments: { object: string; size: number }[];
}

const RECORDS = "_rows.";

/** `path` is `<namespace>.<collection>` everywhere. */
export class Log {
  private number = 0;

  constructor(
    private readonly kv: Kv<RowsRecord>,
    private readonly objects: Objects,
    private readonly prefix: string,
  ) {}

  async records(): Promise<[path: string, RowsRecord][]> {
    return (await this.kv.entries(`${RECORDS}>`)).map(({ key, value }) => [key.slice(RECORDS.length), value]);
  }

  /** Revision 0 when there is none. */
  async load(path: string): Promise<{ segments: Segment[]; record?: RowsRecord; revision: number }> {
    const entry = await this.kv.get(RECORDS + path);
    if (entry === undefined) return { segments: [], revision: 0 };
    const segments: Segment[] = [];
    for (const { object, size } of entry.value.segments) {
      const bytes = new Uint8Array(size);
      let at = 0;
      for await (const chunk of this.objects.read(object, size)) {
        bytes.set(chunk, at);
        at += chunk.length;
      }
      segments.push(new Segment(object, bytes));
    }
    return { segments, record: entry.value, revision: entry.revision };
  }

  /** Stores segments that no record knows yet. */
  async store(pieces: readonly Uint8Array[]): Promise<Segment[]> {
    const segments: Segment[] = [];
    for (const bytes of pieces) {
      const object = `${this.prefix}-${this.number++}`;
      await this.objects.put(object, cut(bytes));
      segments.push(new Segment(object, bytes));
    }
    return segments;
  }

  /** Gives the new revision. EAGAIN when it is not the last one any more: somebody else took over the store. */
  save(path: string, record: RowsRecord, revision: number): Promise<number> {
    return this.kv.put(RECORDS + path, record, revision);
  }

  /** The record goes first. */
  async remove(path: string, { segments }: RowsRecord): Promise<void> {
    await this.kv.del(RECORDS + path);
    for (const { object } of segments) await this.objects.del(object);
  }

  /** Of segments that no record knows any more. */
  async drop(segments: readonly Segment[]): Promise<void> {
    for (const { object } of segments) await this.objects.del(object);
  }
}

async function* cut(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += LIMITS.chunk) yield bytes.subarray(at, at + LIMITS.chunk);
}
