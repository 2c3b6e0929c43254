// Owns what a snapshot says: a sequence's KV, ids, position and sampler settings, enough to go on elsewhere token for token.
// Whole blocks are named by the tokens up to their end, so that two snapshots, or two moments of one, share them.
import { createHash } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { LoadedModel } from "./drivers/driver.ts";
import type { Files } from "./files.ts";
import type { Kv, Table } from "./kv.ts";
import { keyAt } from "./radix.ts";
import type { Sequence, Start } from "./sequence.ts";

/** Then: u32 length of the head, the head as JSON, the block that is not full. */
const MAGIC = "soma.kv.2";

/** Where blocks come from. */
export interface Room {
  /** Makes a table long enough for so many tokens; false: it got what there was. */
  grow: (table: Table, tokens: number) => boolean;
  /** ms until so many blocks more are expected free; undefined where nobody knows. */
  soon: (blocks: number) => number | undefined;
}

export interface Head {
  /** Equal arithmetic and weights: else the KV means nothing here. */
  numerics: string;
  start: Start;
  ids: number[];
  pos: number;
  prompt: number;
  scores: number[];
  hidden: number[];
}

/** A snapshot as it was read; its whole blocks are read one by one. */
export interface Saved {
  name: string;
  head: Head;
  tail: Uint8Array;
}

/** What the snapshot of a sequence is called, whichever device makes or reads it. */
export function snapshotName(model: string, seq: string): string {
  return createHash("sha256").update(`${model}\n${seq}`).digest("hex").slice(0, 32);
}

/**
 * Hands a sequence over to be written, between quanta: copied when this returns, so that its table may be closed, and on disk when
 * the promise settles, with the bytes written. The sampler's state is (seed, position). Rejects as Files.write does.
 */
export function save(loaded: LoadedModel, model: string, sequence: Sequence, files: Files): Promise<number> {
  const { start, ids, pos, prompt, scores, hidden, table } = sequence;
  const { numerics } = loaded;
  const head = Buffer.from(JSON.stringify({ numerics, start, ids, pos, prompt, scores, hidden } satisfies Head));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(head.length);
  const whole = Math.floor(pos / BLOCK_TOKENS);
  const tail = loaded.readBlocks(table.blocks.slice(whole, Math.ceil(pos / BLOCK_TOKENS)));
  const names = blockNames(numerics, ids, whole);
  const blocks = names.map((name, i) =>
    files.has(name) ? { name } : { name, bytes: loaded.readBlocks([table.blocks[i]!]) },
  );
  return files.write(snapshotName(model, sequence.id), Buffer.concat([Buffer.from(MAGIC), size, head, tail]), blocks);
}

/** The snapshot of that name; undefined when there is none. EINVAL when it is none of ours, or of other numerics. */
export function find(name: string, numerics: string, files: Files): Saved | undefined {
  const found = files.head(name);
  if (found === undefined) return undefined;
  const bytes = Buffer.from(found.buffer, found.byteOffset, found.length);
  const from = MAGIC.length + 4;
  if (bytes.length < from || bytes.toString("latin1", 0, MAGIC.length) !== MAGIC)
    throw new SomaError("EINVAL", `${name} is no snapshot: prefill again`);
  const end = from + bytes.readUInt32LE(MAGIC.length);
  const head = JSON.parse(bytes.toString("utf8", from, end)) as Head;
  if (head.numerics !== numerics)
    throw new SomaError("EINVAL", `${name} was made with ${head.numerics}, this is ${numerics}: prefill again`);
  return { name, head, tail: bytes.subarray(end) };
}

/**
 * Fills an empty table with a snapshot's KV: what is cached here is shared, the rest is read. Returns the bytes
 * read. EAGAIN without blocks, with the time when they are expected; ENOENT or EINVAL when files are gone or broken; then the
 * table must be closed.
 */
export function fill(
  loaded: LoadedModel,
  kv: Kv,
  table: Table,
  { name, head, tail }: Saved,
  files: Files,
  room: Room,
): number {
  const { ids, pos } = head;
  const whole = Math.floor(pos / BLOCK_TOKENS);
  // A score writes its last position again: the block of that one must be its own.
  const common = head.start.mode === "score" ? pos - 1 : pos;
  const cached = kv.share(table, ids, common) / BLOCK_TOKENS;
  if (!room.grow(table, pos)) {
    const needed = Math.ceil(pos / BLOCK_TOKENS) - table.blocks.length;
    const soon = room.soon(needed);
    throw new SomaError(
      "EAGAIN",
      `${needed} KV blocks are missing, ${kv.free} are free: wait until others end`,
      soon === undefined ? {} : { retryAfterMs: Math.ceil(soon) },
    );
  }
  let bytes = tail.length;
  for (const [i, block] of blockNames(head.numerics, ids, whole).entries()) {
    if (i < cached) continue;
    const content = files.block(name, block);
    if (content === undefined) throw new SomaError("ENOENT", `a block of ${name} is gone: prefill again`);
    loaded.writeBlocks([table.blocks[i]!], content);
    bytes += content.length;
  }
  if (tail.length > 0) loaded.writeBlocks([table.blocks[whole]!], tail);
  kv.commit(table, ids, common);
  return bytes;
}

function blockNames(numerics: string, ids: readonly number[], count: number): string[] {
  let name = numerics;
  return Array.from({ length: count }, (_, i) => {
    name = createHash("sha256")
      .update(`${name}\n${keyAt(ids, i)}`)
      .digest("hex");
    return name;
  });
}
