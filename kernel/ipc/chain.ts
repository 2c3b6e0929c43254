// Owns the form of the audit: records, how they are chained by hashes and cut into batches, and what a reader checks of a batch.
import * as crypto from "node:crypto";
import { z } from "zod";
import { decode, encode } from "../abi/codec.ts";

/**
 * What one record says, without its number. `open` and `close` stand at the two ends of an epoch; `lost` counts records
 * that found no room while the broker was away.
 */
export type Row =
  | { what: "open" | "close"; at: number }
  | { what: "lost"; at: number; times: number }
  | ({ what: "call"; at: number } & Outcome);

export interface Outcome {
  caller: string;
  principal: string;
  grant?: string | undefined;
  revision?: number | undefined;
  /** `service.call`. */
  call: string;
  /** The attempt's id, of its caller. */
  id: string;
  /** OK or an error code. */
  code: string;
  ms: number;
  /** Equal refusals at the door within one batch are one record. */
  times: number;
  model?: string | undefined;
  version?: number | undefined;
  /** Of the prompt and new ones. */
  tokens?: number | undefined;
  /** Only where the caller's grant says `storePrompts`. */
  prompt?: string | undefined;
}

export type Record = Row & { seq: number };

/** Where a chain ends: the number of its last record, and the hash over it and all before it. */
export interface Head {
  seq: number;
  hash: Uint8Array;
}

/** One message of the stream: `rows` are records `first`, `first + 1`, ...; `hashes` holds 32 bytes for each. */
export interface Batch {
  first: number;
  /** Hash of the record before `first`. */
  prev: Uint8Array;
  rows: Uint8Array[];
  hashes: Uint8Array;
}

const HASH = 32;
/** Records of one batch at most. */
export const ROWS = 256;
const batchSchema = z.object({
  first: z.number().int().positive(),
  prev: z.instanceof(Uint8Array).refine((bytes) => bytes.length === HASH),
  rows: z.array(z.instanceof(Uint8Array)).min(1),
  hashes: z.instanceof(Uint8Array),
});

/** The subject is in the first hash, so that no chain passes for another one. */
export function genesis(subject: string): Head {
  return { seq: 0, hash: crypto.createHash("sha256").update(`soma audit 1 ${subject}`).digest() };
}

/** In one call over one piece of memory where Node has that (20.12): a third of the time of a hash object. */
function link(prev: Uint8Array, row: Uint8Array): Uint8Array {
  if (scratch.length < HASH + row.length) scratch = Buffer.allocUnsafe(2 * (HASH + row.length));
  scratch.set(prev);
  scratch.set(row, HASH);
  const bytes = scratch.subarray(0, HASH + row.length);
  return oneShot === undefined
    ? crypto.createHash("sha256").update(bytes).digest()
    : oneShot("sha256", bytes, "buffer");
}
let scratch = Buffer.allocUnsafe(4_096);
const oneShot: typeof crypto.hash | undefined = crypto.hash;

/** Chains rows onto a head. */
export function seal(head: Head, rows: readonly Row[]): { batch: Batch; head: Head } {
  const hashes = Buffer.allocUnsafe(rows.length * HASH);
  const bytes: Uint8Array[] = [];
  let { seq, hash } = head;
  for (const row of rows) {
    const packed = pack(++seq, row);
    hash = link(hash, packed);
    hashes.set(hash, bytes.length * HASH);
    bytes.push(packed);
  }
  return { batch: { first: head.seq + 1, prev: head.hash, rows: bytes, hashes }, head: { seq, hash } };
}

/** Positions instead of names: a record is about 100 bytes. Times in whole us. */
function pack(seq: number, row: Row): Uint8Array {
  if (row.what !== "call") return encode([seq, row.what, row.at, row.what === "lost" ? row.times : 1]);
  const us = Math.round(row.ms * 1_000);
  return encode([
    seq,
    row.what,
    row.at,
    row.times,
    row.caller,
    row.principal,
    row.grant ?? null,
    row.revision ?? null,
    row.call,
    row.id,
    row.code,
    us,
    row.model ?? null,
    row.version ?? null,
    row.tokens ?? null,
    row.prompt ?? null,
  ]);
}

/** The record in a row; undefined when it is none. */
export function unpack(row: Uint8Array): Record | undefined {
  let list: unknown;
  try {
    list = decode(row);
  } catch {
    return undefined; // Bytes that somebody changed may be anything.
  }
  if (!Array.isArray(list)) return undefined;
  const [seq, what, at, times, caller, principal, grant, revision, call, id, code, us, model, version, tokens, prompt] =
    list;
  if (typeof seq !== "number" || typeof at !== "number") return undefined;
  if (what === "open" || what === "close") return { seq, what, at };
  if (what === "lost") return { seq, what, at, times };
  if (what !== "call") return undefined;
  const known = { grant, revision, model, version, tokens, prompt };
  const rest = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== null && value !== undefined));
  return { seq, what, at, caller, principal, call, id, code, ms: us / 1_000, times, ...rest };
}

/** What is wrong, at which records. */
export interface Fault {
  what: "changed" | "missing" | "reordered" | "unreadable";
  first: number;
  last: number;
}

/** A message's batch; undefined when it is none. */
export function readBatch(value: unknown): Batch | undefined {
  const parsed = batchSchema.safeParse(value);
  return parsed.success && parsed.data.hashes.length === parsed.data.rows.length * HASH ? parsed.data : undefined;
}

const hashAt = (batch: Batch, i: number) => batch.hashes.subarray(i * HASH, (i + 1) * HASH);
export const sameHash = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** The hash that a batch itself gives for record `seq`, if it holds that one. */
export function hashOf(batch: Batch, seq: number): Uint8Array | undefined {
  const i = seq - batch.first;
  return i >= 0 && i < batch.rows.length ? hashAt(batch, i) : undefined;
}

/**
 * Checks that a batch continues a chain from `head`, gives its end as the new head, and says what is wrong. After a fault
 * it goes on from the hashes that the batch gives, so that each fault is told once, where it is.
 */
export function check(head: Head, batch: Batch): { head: Head; faults: Fault[] } {
  const { first, rows } = batch;
  const last = first + rows.length - 1;
  // Sent again, since its acknowledgement was lost: the very same batch as the last one.
  if (last === head.seq && sameHash(hashAt(batch, rows.length - 1), head.hash) && rowFaults(batch).length === 0)
    return { head, faults: [] };
  const faults: Fault[] = [];
  if (first <= head.seq) return { head, faults: [{ what: "reordered", first, last }] };
  if (first > head.seq + 1) faults.push({ what: "missing", first: head.seq + 1, last: first - 1 });
  // A record before this batch was changed, and the hashes after it made to fit.
  else if (!sameHash(batch.prev, head.hash)) faults.push({ what: "changed", first: head.seq, last: head.seq });
  const inside = rowFaults(batch);
  const gone = inside.reduce((sum, fault) => sum + (fault.what === "missing" ? fault.last - fault.first + 1 : 0), 0);
  faults.push(...inside);
  return { head: { seq: last + gone, hash: hashAt(batch, rows.length - 1) }, faults };
}

function rowFaults(batch: Batch): Fault[] {
  const { rows } = batch;
  const faults: Fault[] = [];
  const numbers = rows.map((row) => unpack(row)?.seq);
  let hash = batch.prev;
  let seq = batch.first;
  for (const [i, row] of rows.entries()) {
    const own = numbers[i];
    const given = hashAt(batch, i);
    // A number further on than a batch goes is a changed one.
    if (own !== undefined && own > seq && own < batch.first + ROWS && !numbers.includes(seq)) {
      faults.push({ what: "missing", first: seq, last: own - 1 });
      seq = own;
    } else if (own !== undefined && own !== seq) faults.push({ what: "reordered", first: seq, last: seq });
    else if (!sameHash(link(hash, row), given)) faults.push({ what: "changed", first: seq, last: seq });
    seq += 1;
    hash = given;
  }
  return faults;
}
