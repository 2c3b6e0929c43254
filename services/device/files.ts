// Owns snapshot files on this host: blocks named by their content, each kept once. A snapshot is a folder with its head and a hard
// link for each of its blocks, so the file system counts who needs a block, over processes and their ends. Written one snapshot at
// a time, off the event loop; all of it together takes no more than `bound` bytes.
import { existsSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from "node:fs";
import { link, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { SomaError } from "../../kernel/abi/errors.ts";

const BLOCKS = "blocks";
const HEAD = "head";
/** Each file ends with the CRC-32 of what stands before, u32 little-endian. */
const CHECK = 4;
const GB = 2 ** 30;
/** Unless `SOMA_SNAPSHOT_BYTES` says otherwise: so much, and half of what the disk has free. */
const MOST = 8 * GB;
/** Nobody comes back for a snapshot after so long. */
const AGE_MS = 3600_000;
/** Nobody writes on a file for so long: what is not whole by then was left by a crash. */
const PART_MS = 60_000;
/** Others write here too: what lies here is measured anew for a write after so long. */
const MEASURE_MS = 1_000;
/** Bytes that wait to be written, from which on nothing is added to them: they are copies in memory. */
const BEHIND = 128 * 2 ** 20;

export interface BlockFile {
  /** Names the content: equal names hold equal bytes. */
  name: string;
  /** Absent where `has` said that it is there already. */
  bytes?: Uint8Array;
}

/** A write that is under way or waits for its turn. */
interface Pending {
  done: Promise<unknown>;
  /** Nobody wants it any more. */
  dropped: boolean;
}

export class Files {
  private parts = 0;
  private used = 0;
  private measuredAt = Number.NEGATIVE_INFINITY;
  private waiting = 0;
  private refused = 0;
  /** Settles when the write handed over last has ended, well or not. */
  private last: Promise<unknown> = Promise.resolve();
  private readonly pending = new Map<string, Pending>();

  /** Everything lies below `folder`, which several processes may share, each with this bound. */
  constructor(
    readonly folder: string,
    private readonly bound: number,
  ) {}

  /** `bytes` as last measured, and what was written since. */
  get figures(): { bytes: number; bound: number; waiting: number; refused: number } {
    return { bytes: this.used, bound: this.bound, waiting: this.waiting, refused: this.refused };
  }

  /** So much waits to be written that no more should be handed over. */
  get congested(): boolean {
    return this.waiting >= BEHIND;
  }

  /** Whether a block of that name has been written. */
  has(block: string): boolean {
    return existsSync(join(this.folder, BLOCKS, block));
  }

  /**
   * Writes a snapshot, in place of a former one of this name, after those handed over before; gives the bytes that had to be
   * written, 0 when it was dropped meanwhile. EAGAIN when that is over the bound: what was there before stays. ENOENT when a
   * block is gone that was there.
   */
  write(name: string, head: Uint8Array, blocks: readonly BlockFile[]): Promise<number> {
    const size = blocks.reduce((sum, { bytes }) => sum + (bytes === undefined ? 0 : bytes.length + CHECK), 0);
    const bytes = size + head.length + CHECK;
    this.waiting += bytes;
    const pending: Pending = { done: this.last, dropped: false };
    const written = this.last.then(async () => {
      try {
        return await this.persist(name, head, blocks, bytes, pending);
      } finally {
        this.waiting -= bytes;
        // Only now: it may have been dropped at any moment until here.
        if (pending.dropped) this.remove(name);
        if (this.pending.get(name) === pending) this.pending.delete(name);
      }
    });
    // Its caller hears of a failure; the next one does not.
    this.last = pending.done = written.catch(() => {});
    this.pending.set(name, pending);
    return written;
  }

  /** What is to be waited for until a snapshot is as it was last handed over; undefined when it is. */
  settled(name: string): Promise<unknown> | undefined {
    return this.pending.get(name)?.done;
  }

  /** When nothing waits to be written any more. */
  async idle(): Promise<void> {
    while (this.pending.size > 0) await this.last;
  }

  private async persist(name: string, head: Uint8Array, blocks: readonly BlockFile[], bytes: number, of: Pending) {
    if (of.dropped) return 0;
    await this.admit(bytes);
    const folder = join(this.folder, name);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await mkdir(join(this.folder, BLOCKS), { recursive: true, mode: 0o700 });
      for (const block of blocks) if (!of.dropped) await this.hold(folder, block);
      // The head comes last and whole: a crash leaves the former one, whose blocks are still there, or none.
      if (!of.dropped) await this.put(join(folder, HEAD), head);
    } catch (error) {
      if (!existsSync(join(folder, HEAD))) this.remove(name);
      throw error;
    }
    if (of.dropped) return 0;
    const kept = new Set([HEAD, ...blocks.map((block) => block.name)]);
    for (const file of await readdir(folder)) if (!kept.has(file)) await rm(join(folder, file), { force: true });
    return bytes;
  }

  /** Sets bytes aside, or EAGAIN: then what nobody comes back for is deleted before. */
  private async admit(bytes: number): Promise<void> {
    const full = () => this.used + bytes > this.bound;
    if (full() || performance.now() - this.measuredAt > MEASURE_MS) await this.measure();
    if (full()) {
      this.sweep();
      await this.measure();
    }
    if (full()) {
      this.refused += 1;
      const figures = `snapshots take ${this.used} of ${this.bound} bytes, ${bytes} more do not fit`;
      throw new SomaError("EAGAIN", `${figures}: set SOMA_SNAPSHOT_BYTES higher to keep more`);
    }
    this.used += bytes;
  }

  /** A file that is linked more than once counts once. */
  private async measure(): Promise<void> {
    const sizes = new Map<number, number>();
    for (const name of list(this.folder)) {
      const files = await readdir(join(this.folder, name)).catch(absent);
      const stats = await Promise.all((files ?? []).map((file) => stat(join(this.folder, name, file)).catch(absent)));
      for (const one of stats) if (one) sizes.set(one.ino, one.size);
    }
    this.used = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    this.measuredAt = performance.now();
  }

  private async hold(folder: string, { name, bytes }: BlockFile): Promise<void> {
    const [shared, mine] = [join(this.folder, BLOCKS, name), join(folder, name)];
    if (await linked(shared, mine)) return;
    if (bytes === undefined) throw new SomaError("ENOENT", `block ${name} was given up meanwhile: prefill again`);
    await this.put(shared, bytes);
    // Swept between the two lines by another process: then it is in this folder alone, which does no harm.
    if (!(await linked(shared, mine))) await this.put(mine, bytes);
  }

  private async put(path: string, bytes: Uint8Array): Promise<void> {
    const part = `${path}.${process.pid}-${this.parts++}.part`;
    const check = Buffer.alloc(CHECK);
    check.writeUInt32LE(crc32(bytes));
    await writeFile(part, [bytes, check], { mode: 0o600 });
    await rename(part, path);
  }

  /** The head of a snapshot, or undefined when there is none. EINVAL when it is damaged. */
  head(name: string): Uint8Array | undefined {
    return this.read(name, HEAD);
  }

  /** A block of a snapshot, or undefined when it is gone. EINVAL when it is damaged. */
  block(snapshot: string, name: string): Uint8Array | undefined {
    return this.read(snapshot, name);
  }

  private read(snapshot: string, file: string): Uint8Array | undefined {
    const path = join(this.folder, snapshot, file);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      return absent(error as Error);
    }
    const end = bytes.length - CHECK;
    const content = bytes.subarray(0, Math.max(0, end));
    if (end >= 0 && crc32(content) === bytes.readUInt32LE(end)) return content;
    // Nobody else shall link or read it again.
    for (const broken of [path, join(this.folder, BLOCKS, file)]) rmSync(broken, { force: true });
    throw new SomaError("EINVAL", `${file} of snapshot ${snapshot} is damaged: prefill again`);
  }

  /** Deletes a snapshot, and blocks that no other has. */
  drop(name: string): void {
    const pending = this.pending.get(name);
    if (pending) pending.dropped = true;
    else this.remove(name);
  }

  private remove(name: string): void {
    const folder = join(this.folder, name);
    const held = list(folder);
    this.used -= statSync(join(folder, HEAD), { throwIfNoEntry: false })?.size ?? 0;
    rmSync(folder, { recursive: true, force: true });
    for (const block of held) if (block !== HEAD) this.release(block);
  }

  private release(block: string): void {
    const path = join(this.folder, BLOCKS, block);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.nlink !== 1) return;
    // Another process is at it.
    if (block.endsWith(".part") && Date.now() - found.mtimeMs < PART_MS) return;
    rmSync(path, { force: true });
    this.used = Math.max(0, this.used - found.size);
  }

  /** Deletes what was last written over `ageMs` ago: whoever left it does not come back. */
  sweep(ageMs = AGE_MS, now = Date.now()): void {
    for (const name of list(this.folder)) {
      if (name === BLOCKS) continue;
      const written = statSync(join(this.folder, name), { throwIfNoEntry: false })?.mtimeMs ?? now;
      if (now - written > ageMs) this.drop(name);
    }
    for (const block of list(join(this.folder, BLOCKS))) this.release(block);
  }
}

/** Bytes that snapshots below a folder may take where no setting says it. */
export function defaultBound(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return Math.floor(Math.min(MOST, (bavail * bsize) / 2));
}

/** False when `from` is not there. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    if (codeOf(error) !== "EEXIST") throw error;
  }
  return true;
}

/** Undefined for what is not there; any other error goes on. */
function absent(error: Error): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
