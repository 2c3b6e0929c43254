// Owns snapshot files: a sequence's KV, ids, position and sampler settings, enough to go on elsewhere token for token.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { Resident } from "./resident.ts";
import type { Sequence, Start } from "./sequence.ts";

/** Then: u32 length of the head, the head as JSON, the blocks. */
const MAGIC = "soma.kv.1";

interface Head {
  /** Equal arithmetic and weights: else the KV means nothing here. */
  numerics: string;
  start: Start;
  ids: number[];
  pos: number;
  prompt: number;
  scores: number[];
  hidden: number[];
}

/** Writes a sequence that no running quantum names to `folder`; it stays where it is. The sampler's state is (seed, position). */
export function snapshot(resident: Resident, seq: string, folder: string) {
  const { start, ids, pos, prompt, scores, hidden, table } = resident.resting(seq);
  const { numerics } = resident.loaded;
  const head = Buffer.from(JSON.stringify({ numerics, start, ids, pos, prompt, scores, hidden } satisfies Head));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(head.length);
  const blocks = resident.loaded.readBlocks(table.blocks.slice(0, Math.ceil(pos / BLOCK_TOKENS)));
  const bytes = Buffer.concat([Buffer.from(MAGIC), size, head, blocks]);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const name = `${createHash("sha256").update(`${resident.model}\n${seq}`).digest("hex").slice(0, 32)}.kv`;
  const path = join(folder, name);
  // Renamed when it is whole: a crash leaves the former one or none.
  writeFileSync(`${path}.part`, bytes, { mode: 0o600 });
  renameSync(`${path}.part`, path);
  return { file: name, bytes: bytes.length, position: pos };
}

/** Brings a snapshot back. ENOENT without the file, EINVAL when it is of another model or numerics, ENOMEM without blocks. */
export function restore(resident: Resident, seq: string, file: string, folder: string) {
  const { head, blocks } = read(join(folder, basename(file)));
  const { numerics, ...rest } = head;
  if (numerics !== resident.loaded.numerics)
    throw new SomaError(
      "EINVAL",
      `${file} was made with ${numerics}, this is ${resident.loaded.numerics}: prefill again`,
    );
  const sequence: Sequence = { ...rest, id: seq, table: resident.kv.open(), dropped: false };
  resident.adopt(sequence);
  resident.loaded.writeBlocks(sequence.table.blocks, blocks);
  return { position: sequence.pos };
}

function read(path: string): { head: Head; blocks: Uint8Array } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new SomaError("ENOENT", `no snapshot ${basename(path)}: prefill again`, { cause });
  }
  const from = MAGIC.length + 4;
  if (bytes.length < from || bytes.toString("latin1", 0, MAGIC.length) !== MAGIC)
    throw new SomaError("EINVAL", `${basename(path)} is no snapshot: prefill again`);
  const end = from + bytes.readUInt32LE(MAGIC.length);
  return { head: JSON.parse(bytes.toString("utf8", from, end)) as Head, blocks: bytes.subarray(end) };
}
