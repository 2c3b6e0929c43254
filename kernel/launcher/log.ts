// Owns the log file of one child: bounded on disk, its end in memory so that an exit can say why.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";

/** The current file grows to this size, then replaces the one before it: at most twice as much on disk. */
const FILE_BYTES = 4 * 1024 * 1024;
/** What `lines` gives: enough for an error with its stack. */
const LINES = 20;
const LINE_CHARACTERS = 500;

export class LogFile {
  readonly #path: string;
  /** Undefined: the end in memory is all that is kept. */
  #file: number | undefined;
  #size = 0;
  #tail: string[] = [];
  #rest = "";
  #broken = false;

  /** Appends to <directory>/<name>.log, or keeps only the end without a directory; `complain` hears once when the disk refuses. */
  constructor(
    directory: string | undefined,
    name: string,
    private readonly complain: (line: string) => void,
    private readonly limit = FILE_BYTES,
  ) {
    this.#path = join(directory ?? "", `${name}.log`);
    if (directory === undefined) return;
    this.#file = openSync(this.#path, "a", 0o600);
    this.#size = fstatSync(this.#file).size;
  }

  write(chunk: Buffer): void {
    this.#remember(chunk.toString());
    if (this.#file === undefined) return;
    // A full disk must not end the launcher, on which everything hangs: the lines stay in memory only.
    try {
      if (this.#size > 0 && this.#size + chunk.length > this.limit) this.#rotate();
      this.#size += writeSync(this.#file, chunk);
      this.#broken = false;
    } catch (error) {
      if (!this.#broken) this.complain(`${this.#path} cannot be written: ${(error as Error).message}`);
      this.#broken = true;
    }
  }

  /** The last lines, the unfinished one included. */
  lines(): string[] {
    return [...this.#tail, ...(this.#rest === "" ? [] : [this.#rest])].slice(-LINES);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    const next = openSync(this.#path, "a", 0o600);
    closeSync(this.#file!);
    this.#file = next;
    this.#size = 0;
  }

  #remember(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!.slice(-LINE_CHARACTERS);
    this.#tail = [...this.#tail, ...lines.map((line) => line.slice(0, LINE_CHARACTERS))].slice(-LINES);
  }
}
