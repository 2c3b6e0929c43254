// Owns snapshot files on this host: blocks named by their content, each kept once. A snapshot is a folder with its head and a hard
// link for each of its blocks, so the file system counts who needs a block, over processes and their ends.
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const BLOCKS = "blocks";
const HEAD = "head";

export interface BlockFile {
  /** Names the content: equal names hold equal bytes. */
  name: string;
  /** Asked for only when nobody has written them yet. */
  bytes: () => Uint8Array;
}

export class Files {
  private parts = 0;

  /** Everything lies below `folder`, which several processes may share. */
  constructor(readonly folder: string) {}

  /** Writes a snapshot, in place of a former one of this name; returns the bytes that had to be written. */
  write(name: string, head: Uint8Array, blocks: readonly BlockFile[]): number {
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    mkdirSync(join(this.folder, BLOCKS), { recursive: true, mode: 0o700 });
    let written = head.length;
    for (const block of blocks) written += this.hold(folder, block);
    // The head comes last and whole: a crash leaves the former one, whose blocks are still there, or none.
    this.put(join(folder, HEAD), head);
    const kept = new Set([HEAD, ...blocks.map((block) => block.name)]);
    for (const file of readdirSync(folder)) if (!kept.has(file)) rmSync(join(folder, file), { force: true });
    return written;
  }

  private hold(folder: string, { name, bytes }: BlockFile): number {
    const [shared, mine] = [join(this.folder, BLOCKS, name), join(folder, name)];
    if (link(shared, mine)) return 0;
    const content = bytes();
    this.put(shared, content);
    // Swept between the two lines by another process: then it is in this folder alone, which does no harm.
    if (!link(shared, mine)) this.put(mine, content);
    return content.length;
  }

  private put(path: string, bytes: Uint8Array): void {
    const part = `${path}.${process.pid}-${this.parts++}.part`;
    writeFileSync(part, bytes, { mode: 0o600 });
    renameSync(part, path);
  }

  /** The head of a snapshot, or undefined when there is none. */
  head(name: string): Uint8Array | undefined {
    return read(join(this.folder, name, HEAD));
  }

  /** A block of a snapshot, or undefined when it is gone. */
  block(snapshot: string, name: string): Uint8Array | undefined {
    return read(join(this.folder, snapshot, name));
  }

  /** Deletes a snapshot, and blocks that no other has. */
  drop(name: string): void {
    const folder = join(this.folder, name);
    const held = list(folder);
    if (held.length === 0) return;
    rmSync(folder, { recursive: true, force: true });
    for (const block of held) if (block !== HEAD) this.release(block);
  }

  private release(block: string): void {
    const path = join(this.folder, BLOCKS, block);
    if (statSync(path, { throwIfNoEntry: false })?.nlink === 1) rmSync(path, { force: true });
  }

  /** Deletes what was last written over `ageMs` ago: whoever left it does not come back. */
  sweep(ageMs: number, now = Date.now()): void {
    for (const name of list(this.folder)) {
      if (name === BLOCKS) continue;
      const written = statSync(join(this.folder, name), { throwIfNoEntry: false })?.mtimeMs ?? now;
      if (now - written > ageMs) this.drop(name);
    }
    for (const block of list(join(this.folder, BLOCKS))) this.release(block);
  }
}

/** False when `from` is not there. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    if (codeOf(error) !== "EEXIST") throw error;
  }
  return true;
}

function read(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
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
