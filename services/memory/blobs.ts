// Owns large values by content: who holds which, who may read which, and where the bytes lie.
import { createHash } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { roleOf, SERVICES } from "../../kernel/abi/names.ts";
import type { Objects } from "../../kernel/ipc/objects.ts";
import { Serial } from "../../kernel/ipc/serial.ts";
import type { Kv } from "../../kernel/ipc/store.ts";

const APP_QUOTA = 4 * 1024 * 1024 * 1024;

/** Bytes of blobs that somebody may hold. Persons and services are bounded by the store alone. */
export function blobQuota(holder: string): number {
  return isService(holder) || roleOf(holder) !== "app" ? Number.POSITIVE_INFINITY : APP_QUOTA;
}

/**
 * Kept in bucket `data` under `_blob.<sha256>`; no namespace starts with "_". The record is what counts:
 * a blob is stored first and recorded then, and its record is deleted first, so that a crash in between leaves an object
 * that nobody knows, which the next start removes.
 */
export interface BlobRecord {
  /** Of the object bucket. */
  object: string;
  size: number;
  /** Holder -> those that it lets read. */
  holders: Record<string, string[]>;
}

const RECORDS = "_blob.";
const shaOf = (blob: string) => blob.slice("blob:".length);

export interface BlobOptions {
  /** Unique for each start of the service: object ids begin with it. */
  prefix: string;
  /** Bytes that a holder may have. */
  quota: (holder: string) => number;
  /** Objects of the same bucket that others' records know. */
  others?: ReadonlySet<string>;
}

export class Blobs {
  private readonly records = new Map<string, BlobRecord>();
  /** Holder -> bytes that it holds, each blob counted for everyone that holds it, or that it is uploading. */
  private readonly held = new Map<string, number>();
  private readonly turns = new Serial();
  private number = 0;

  private constructor(
    private readonly kv: Kv<BlobRecord>,
    private readonly objects: Objects,
    private readonly options: BlobOptions,
  ) {}

  /** Reads the records and removes objects without one. No other instance may be writing. */
  static async open(kv: Kv<BlobRecord>, objects: Objects, options: BlobOptions): Promise<Blobs> {
    const blobs = new Blobs(kv, objects, options);
    for (const { key, value } of await kv.entries(`${RECORDS}*`)) blobs.set(key.slice(RECORDS.length), value);
    const known = new Set([...blobs.records.values()].map(({ object }) => object));
    for (const id of await objects.ids()) if (!known.has(id) && options.others?.has(id) !== true) await objects.del(id);
    return blobs;
  }

  /** Stores what comes in pieces of at most LIMITS.chunk for `holder`; once only, however many hold it. */
  async write(holder: string, pieces: AsyncIterable<unknown>, size?: number): Promise<{ blob: string; size: number }> {
    const object = `${this.options.prefix}-${this.number++}`;
    const upload = { hash: createHash("sha256"), size: 0 };
    try {
      await this.objects.put(object, this.checked(holder, pieces, upload));
      if (size !== undefined && size !== upload.size) {
        await this.objects.del(object);
        throw new SomaError("EINVAL", `${upload.size} bytes came where ${size} were announced: write it again`);
      }
      const sha = upload.hash.digest("hex");
      await this.turns.run(sha, () => this.hold(sha, holder, { object, size: upload.size, holders: {} }));
      return { blob: `blob:${sha}`, size: upload.size };
    } finally {
      this.count(holder, -upload.size);
    }
  }

  /** The size, and the bytes in pieces of at most LIMITS.chunk. ENOENT, or EPERM unless `reader` holds it or may read it. */
  read(reader: string, blob: string, service: boolean): { size: number; pieces: AsyncGenerator<Uint8Array> } {
    const { holders, object, size } = this.find(blob);
    const mayRead = Object.entries(holders).some(
      // What services hold for themselves they hand to each other, whomever they work for.
      ([holder, readers]) => holder === reader || readers.includes(reader) || (service && isService(holder)),
    );
    if (!mayRead && !(service && isService(reader)))
      throw new SomaError("EPERM", `"${reader}" may not read ${blob}: let a holder call memory.share for it`);
    return { size, pieces: cut(this.objects.read(object, size)) };
  }

  /** Lets `reader` read what `holder` holds, for as long as it holds it. */
  share(holder: string, blob: string, reader: string): Promise<void> {
    return this.turns.run(shaOf(blob), async () => {
      const record = this.find(blob);
      if (!Object.hasOwn(record.holders, holder))
        throw new SomaError("EPERM", `"${holder}" does not hold ${blob}: store it with memory.write first`);
      const readers = record.holders[holder]!;
      if (readers.includes(reader)) return;
      await this.save(shaOf(blob), { ...record, holders: { ...record.holders, [holder]: [...readers, reader] } });
    });
  }

  /** Gives up the hold; the bytes go with the last one. Nothing happens when there is none, so it may be repeated. */
  drop(holder: string, blob: string): Promise<boolean> {
    const sha = shaOf(blob);
    return this.turns.run(sha, async () => {
      const record = this.records.get(sha);
      if (record === undefined || !Object.hasOwn(record.holders, holder)) return false;
      const { [holder]: _, ...holders } = record.holders;
      if (Object.keys(holders).length > 0) {
        await this.save(sha, { ...record, holders });
      } else {
        await this.kv.del(RECORDS + sha);
        this.set(sha, undefined);
        await this.objects.del(record.object);
      }
      return true;
    });
  }

  /** Drops all that a holder has; gives the number. */
  async wipe(holder: string): Promise<number> {
    let dropped = 0;
    for (const sha of [...this.records.keys()]) if (await this.drop(holder, `blob:${sha}`)) dropped += 1;
    return dropped;
  }

  /** Holder -> bytes. */
  usage(): ReadonlyMap<string, number> {
    return this.held;
  }

  get size(): number {
    return this.records.size;
  }

  /** Checks, hashes and counts what passes. */
  private async *checked(
    holder: string,
    pieces: AsyncIterable<unknown>,
    upload: { hash: ReturnType<typeof createHash>; size: number },
  ): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      if (!(piece instanceof Uint8Array) || piece.length > LIMITS.chunk)
        throw new SomaError("EINVAL", `a piece of an upload is bytes, ${LIMITS.chunk} of them at most`);
      const quota = this.options.quota(holder);
      if ((this.held.get(holder) ?? 0) + piece.length > quota) {
        const what = `"${holder}" may hold ${quota} bytes of blobs`;
        throw new SomaError("EDQUOT", `${what}: give some up with memory.drop`, { retryable: false });
      }
      this.count(holder, piece.length);
      upload.size += piece.length;
      upload.hash.update(piece);
      yield piece;
    }
  }

  /** Records that `holder` holds what was just stored, or, if it is there already, the one that is. */
  private async hold(sha: string, holder: string, stored: BlobRecord): Promise<void> {
    const record = this.records.get(sha) ?? stored;
    if (!Object.hasOwn(record.holders, holder))
      await this.save(sha, { ...record, holders: { ...record.holders, [holder]: [] } });
    if (record !== stored) await this.objects.del(stored.object);
  }

  private async save(sha: string, record: BlobRecord): Promise<void> {
    await this.kv.put(RECORDS + sha, record);
    this.set(sha, record);
  }

  private set(sha: string, record: BlobRecord | undefined): void {
    const before = this.records.get(sha);
    for (const holder of Object.keys(before?.holders ?? {})) this.count(holder, -before!.size);
    for (const holder of Object.keys(record?.holders ?? {})) this.count(holder, record!.size);
    if (record === undefined) this.records.delete(sha);
    else this.records.set(sha, record);
  }

  private count(holder: string, bytes: number): void {
    const total = (this.held.get(holder) ?? 0) + bytes;
    if (total > 0) this.held.set(holder, total);
    else this.held.delete(holder);
  }

  private find(blob: string): BlobRecord {
    const record = this.records.get(shaOf(blob));
    if (record === undefined) throw new SomaError("ENOENT", `nobody holds ${blob}: store it with memory.write`);
    return record;
  }
}

function isService(holder: string): boolean {
  return (SERVICES as readonly string[]).includes(holder);
}

async function* cut(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += LIMITS.chunk) yield chunk.subarray(at, at + LIMITS.chunk);
}
