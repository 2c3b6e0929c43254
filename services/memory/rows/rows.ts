// Owns collections of rows: their records, their objects, whose turn it is to change one, and which of them are in memory.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { LIMITS } from "../../../kernel/abi/limits.ts";
import type { Input, Output } from "../../../kernel/abi/syscalls.ts";
import type { Objects } from "../../../kernel/ipc/objects.ts";
import { Serial } from "../../../kernel/ipc/serial.ts";
import type { Kv } from "../../../kernel/ipc/store.ts";
import { type Change, Collection } from "./collection.ts";
import { Log, type RowsRecord } from "./log.ts";
import { type Query, search } from "./search.ts";
import type { Row, Segment } from "./segment.ts";
import { toUnit } from "./vector.ts";

export interface RowsOptions {
  /** Unique for each start of the service: object ids begin with it. */
  prefix: string;
  /** Stored bytes of one collection, which is searched in memory as a whole. */
  collectionBytes?: number;
  /** Stored bytes of a namespace, and how many collections it has. */
  namespaceBytes?: number;
  collections?: number;
  /** Bytes of collections kept in memory, the last used ones; the one in use always is. */
  cacheBytes?: number;
  segmentBytes?: number;
}

const MB = 1024 * 1024;
const DEFAULTS = { collectionBytes: 256 * MB, namespaceBytes: 1024 * MB, collections: 64, cacheBytes: 512 * MB };
/** Leaves room for the rest of the message. */
const HIT_BYTES = LIMITS.body - 64 * 1024;

type GivenRow = Input<"memory.index">["rows"][number];
interface Loaded {
  collection: Collection;
  /** Of the record; 0 when there is none. */
  revision: number;
}

type Wanted = Omit<Query, "vector"> & { vector?: number[] | Uint8Array | undefined };

const utf8 = new TextEncoder();
const pathOf = (namespace: string, collection: string) => `${namespace}.${collection}`;
const bytesOf = ({ segments }: RowsRecord) => segments.reduce((sum, { size }) => sum + size, 0);

export class Rows {
  /** `<namespace>.<collection>` -> its record. */
  private readonly records = new Map<string, RowsRecord>();
  /** Least recently used first. */
  private readonly loaded = new Map<string, Loaded>();
  private readonly turns = new Serial();
  private readonly options: RowsOptions & typeof DEFAULTS;

  private constructor(
    private readonly log: Log,
    options: RowsOptions,
  ) {
    this.options = { ...DEFAULTS, ...options };
  }

  /** Reads the records. No other instance may be writing. */
  static async open(kv: Kv<RowsRecord>, objects: Objects, options: RowsOptions): Promise<Rows> {
    const rows = new Rows(new Log(kv, objects, options.prefix), options);
    for (const [path, record] of await rows.log.records()) rows.records.set(path, record);
    return rows;
  }

  /** Every object that a record knows. */
  known(): Set<string> {
    return new Set([...this.records.values()].flatMap(({ segments }) => segments.map(({ object }) => object)));
  }

  /** Stored when it resolves. EINVAL for a vector of another length than the others', EDQUOT when the collection is full. */
  index(namespace: string, name: string, given: readonly GivenRow[]): Promise<{ rows: number; bytes: number }> {
    const path = pathOf(namespace, name);
    // Of the same id the last counts.
    const rows = [...new Map(given.map((row) => [row.id, encodeRow(row)])).values()];
    return this.turns.run(path, async () => {
      if (!this.records.has(path)) this.checkCount(namespace);
      const loaded = await this.load(path);
      const { collection } = loaded;
      const dims = collection.dims || (rows.find(({ vector }) => vector)?.vector?.length ?? 0);
      for (const { id, vector } of rows)
        if (vector !== undefined && vector.length !== dims) throw otherLength(`row "${id}"`, vector.length, dims);
      await this.change(path, loaded, rows, []);
      return { rows: collection.rows, bytes: collection.bytes };
    });
  }

  /** Without ids the whole collection. Nothing happens for what is not there; gives the number of rows deleted. */
  unindex(namespace: string, name: string, ids?: readonly string[]): Promise<number> {
    const path = pathOf(namespace, name);
    return this.turns.run(path, async () => {
      const record = this.records.get(path);
      if (record === undefined) return 0;
      if (ids === undefined) {
        await this.remove(path);
        return record.rows;
      }
      const loaded = await this.load(path);
      const there = [...new Set(ids)].filter((id) => loaded.collection.has(id));
      if (there.length > 0) await this.change(path, loaded, [], there);
      return there.length;
    });
  }

  /** ENOENT when there is no such collection; EINVAL when its vectors have another length; E2BIG for too much text. */
  async search(namespace: string, name: string, query: Wanted): Promise<Output<"memory.search">> {
    const path = pathOf(namespace, name);
    if (!this.records.has(path)) {
      const message = `${namespace} has no collection "${name}": put rows into it with memory.index`;
      throw new SomaError("ENOENT", message);
    }
    const vector = query.vector === undefined ? undefined : toUnit(query.vector, "the query");
    const { collection } = this.touch(path) ?? (await this.turns.run(path, () => this.load(path)));
    if (vector !== undefined && collection.dims > 0 && collection.dims !== vector.length)
      throw otherLength("the query", vector.length, collection.dims);
    const found = await search(collection, { ...query, vector });
    // Perhaps it grew by its words.
    this.trim();
    let bytes = 0;
    const hits = found.map(({ segment, row, ...scores }) => {
      const { id, text, meta } = segment.row(row);
      bytes += text.length + meta.length;
      if (bytes > HIT_BYTES)
        throw new SomaError("E2BIG", `${found.length} hits are too large for one answer: ask for fewer with "limit"`);
      return {
        id,
        ...scores,
        ...(text.length > 0 && { text: segment.text(row) }),
        ...(meta.length > 0 && { meta: segment.meta(row)! }),
      };
    });
    return { hits };
  }

  collections(namespace: string): Output<"memory.collections">["collections"] {
    return [...this.records]
      .filter(([path]) => path.startsWith(`${namespace}.`))
      .map(([path, record]) => ({
        collection: path.slice(namespace.length + 1),
        ...{ rows: record.rows, dims: record.dims, bytes: bytesOf(record) },
      }))
      .sort((a, b) => (a.collection < b.collection ? -1 : 1));
  }

  /** Namespace -> its rows and their stored bytes. */
  usage(): Map<string, { rows: number; bytes: number }> {
    const usage = new Map<string, { rows: number; bytes: number }>();
    for (const [path, record] of this.records) {
      const namespace = path.slice(0, path.indexOf("."));
      const { rows, bytes } = usage.get(namespace) ?? { rows: 0, bytes: 0 };
      usage.set(namespace, { rows: rows + record.rows, bytes: bytes + bytesOf(record) });
    }
    return usage;
  }

  /** Deletes all collections of a namespace; gives their number. */
  async wipe(namespace: string): Promise<number> {
    const collections = this.collections(namespace);
    for (const { collection } of collections) await this.unindex(namespace, collection);
    return collections.length;
  }

  figures(): { collections: number; loaded: number; loadedBytes: number; cacheBytes: number } {
    const { cacheBytes } = this.options;
    return { collections: this.records.size, loaded: this.loaded.size, loadedBytes: this.loadedBytes(), cacheBytes };
  }

  /** Stores the change, then makes it here. A failure leaves it to the next load what was stored. */
  private async change(
    path: string,
    { collection, revision }: Loaded,
    rows: readonly Row[],
    deleted: readonly string[],
  ) {
    let change = collection.change(rows, deleted);
    if (rows.length > 0 && this.excess(path, sizeAfter(collection, change)) !== undefined) {
      change = collection.change(rows, deleted, true);
      const excess = this.excess(path, sizeAfter(collection, change));
      if (excess !== undefined)
        throw new SomaError("EDQUOT", `${excess}: forget some with memory.unindex`, { retryable: false });
    }
    const before = collection.segments;
    if (change.rows === 0) return this.remove(path);
    const pieces = await this.log.store(change.pieces);
    const segments = [...before.slice(0, change.from), ...pieces];
    const record = recordOf(change.rows, segments);
    // Perhaps it is stored though this fails: count it, until the next load or start.
    this.records.set(path, record);
    this.loaded.delete(path);
    const next = await this.log.save(path, record, revision);
    collection.replace(change.from, pieces);
    this.loaded.set(path, { collection, revision: next });
    this.trim();
    await this.log.drop(before.slice(change.from));
  }

  private async remove(path: string): Promise<void> {
    this.loaded.delete(path);
    await this.log.remove(path, this.records.get(path)!);
    this.records.delete(path);
  }

  /** In a turn: from memory, or as it is stored. */
  private async load(path: string): Promise<Loaded> {
    const here = this.touch(path);
    if (here !== undefined) return here;
    const { segments, record, revision } = await this.log.load(path);
    if (record === undefined) this.records.delete(path);
    else this.records.set(path, record);
    const loaded = { collection: new Collection(segments, this.options.segmentBytes), revision };
    if (record !== undefined) this.loaded.set(path, loaded);
    this.trim();
    return loaded;
  }

  private touch(path: string): Loaded | undefined {
    const loaded = this.loaded.get(path);
    if (loaded === undefined) return undefined;
    this.loaded.delete(path);
    this.loaded.set(path, loaded);
    return loaded;
  }

  /** Who still works with one that is put out here keeps it until then; loads wait for their turn, so nobody sees an old one. */
  private trim(): void {
    for (const path of [...this.loaded.keys()].slice(0, -1)) {
      if (this.loadedBytes() <= this.options.cacheBytes) return;
      this.loaded.delete(path);
    }
  }

  private loadedBytes(): number {
    let bytes = 0;
    for (const { collection } of this.loaded.values()) bytes += collection.loadedBytes;
    return bytes;
  }

  /** What would be too large with a collection of so many bytes. */
  private excess(path: string, size: number): string | undefined {
    const { collectionBytes, namespaceBytes } = this.options;
    if (size > collectionBytes) return `the collection would hold ${size} bytes of at most ${collectionBytes}`;
    const [namespace = ""] = path.split(".");
    const before = this.records.get(path);
    const all = (this.usage().get(namespace)?.bytes ?? 0) - (before === undefined ? 0 : bytesOf(before)) + size;
    if (all > namespaceBytes)
      return `the collections of ${namespace} would hold ${all} bytes of at most ${namespaceBytes}`;
    return undefined;
  }

  private checkCount(namespace: string): void {
    const most = this.options.collections;
    if (this.collections(namespace).length < most) return;
    const what = `${namespace} has ${most} collections, as many as it may`;
    throw new SomaError("EDQUOT", `${what}: forget one with memory.unindex`, { retryable: false });
  }
}

function sizeAfter({ segments }: Collection, { from, pieces }: Change): number {
  return [...segments.slice(0, from).map(({ bytes }) => bytes), ...pieces].reduce((sum, { length }) => sum + length, 0);
}

function recordOf(rows: number, segments: readonly Segment[]): RowsRecord {
  const dims = segments.find(({ vectorCount }) => vectorCount > 0)?.dims ?? 0;
  return { rows, dims, segments: segments.map(({ object, bytes }) => ({ object, size: bytes.length })) };
}

function encodeRow({ id, text = "", vector, meta }: GivenRow): Row {
  return {
    id,
    text: utf8.encode(text),
    meta: utf8.encode(meta === undefined ? "" : JSON.stringify(meta)),
    ...(vector !== undefined && { vector: toUnit(vector, `row "${id}"`) }),
  };
}

function otherLength(whose: string, length: number, dims: number): SomaError {
  const what = `${whose} has a vector of ${length} numbers, the rows of the collection one of ${dims}`;
  return new SomaError("EINVAL", `${what}: use the model that made those, or another collection`);
}
