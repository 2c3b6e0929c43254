// Owns sequences that preemption put aside. Their KV stays in its blocks, which costs nothing, until others need them; then it goes
// to files, or is given up where computing it again is faster by what was measured.
import { isSomaError } from "../../kernel/abi/errors.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { LoadedModel } from "./drivers/driver.ts";
import type { Files } from "./files.ts";
import type { Kv, Table } from "./kv.ts";
import { Rate } from "./rate.ts";
import { openSequence, type Sequence, type Start } from "./sequence.ts";
import { fill, find, save, snapshotName } from "./snapshot.ts";

export interface ParkingOptions {
  model: string;
  loaded: LoadedModel;
  kv: Kv;
  files: Files;
  /** Told when files fail; the sequence is prefilled again then. */
  warn: (message: string, error: Error) => void;
  now?: () => number;
}

export class Parking {
  /** Put aside first comes first. */
  private readonly aside = new Map<string, Sequence>();
  /** Tokens, told by who computes them. */
  readonly prefill = new Rate();
  /** Bytes from files. */
  readonly reading = new Rate();
  /** `abandoned`: prefill was faster, or files failed. */
  readonly counts = { parked: 0, inPlace: 0, written: 0, restored: 0, abandoned: 0, bytesWritten: 0, bytesRead: 0 };
  private readonly now: () => number;

  constructor(private readonly options: ParkingOptions) {
    this.now = options.now ?? (() => performance.now());
  }

  get size(): number {
    return this.aside.size;
  }

  /** Takes a sequence that no running quantum names, with its table. */
  park(sequence: Sequence): void {
    this.counts.parked += 1;
    this.aside.set(sequence.id, sequence);
  }

  /** Makes a table long enough, at the cost of cached prefixes, then of sequences put aside. False: it got what there was. */
  grow(table: Table, tokens: number): boolean {
    const { kv } = this.options;
    let complete = kv.grow(table, tokens);
    while (!complete && this.makeRoom()) complete = kv.grow(table, tokens);
    return complete;
  }

  /** Frees the blocks of the one that was put aside first, whose KV is on its way to a file then; false when none is. */
  makeRoom(): boolean {
    const [sequence] = this.aside.values();
    if (sequence === undefined) return false;
    void this.write(sequence);
    return true;
  }

  /** Writes these to files where that pays, one after another: they go on elsewhere once that is done. */
  async moveOut(seqs: Iterable<string>): Promise<void> {
    for (const seq of seqs) {
      const sequence = this.aside.get(seq);
      if (sequence) await this.write(sequence);
    }
    await this.written(seqs);
  }

  /** What is to be waited for until all of these that are being written can be read; undefined when they can. */
  written(seqs: Iterable<string>): Promise<unknown> | undefined {
    const { model, files } = this.options;
    const writing = [...seqs].flatMap((seq) => files.settled(snapshotName(model, seq)) ?? []);
    return writing.length === 0 ? undefined : Promise.all(writing);
  }

  /** Its blocks are free at once: files get a copy. A disk that is slower than what it is given gets no more. */
  private async write(sequence: Sequence): Promise<void> {
    this.aside.delete(sequence.id);
    const { model, loaded, files, kv } = this.options;
    const writing = this.filesPay(sequence.pos) && !files.congested ? save(loaded, model, sequence, files) : undefined;
    kv.close(sequence.table);
    const written =
      writing === undefined
        ? undefined
        : await writing.catch((error) => this.failed("a sequence was not written", error));
    if (written === undefined) this.counts.abandoned += 1;
    else {
      this.counts.written += 1;
      this.counts.bytesWritten += written;
    }
  }

  /** The sequence to go on with: as it stood, else as its file says; undefined when it must be computed again. Once it is `written`. */
  resume(seq: string, start: Start): Sequence | undefined {
    const sequence = this.aside.get(seq);
    if (sequence !== undefined) {
      this.aside.delete(seq);
      if (continues(sequence, start)) {
        this.counts.inPlace += 1;
        return goOn(sequence, start);
      }
      this.options.kv.close(sequence.table);
    }
    return start.parked ? this.attempt("a snapshot could not be read", () => this.restore(seq, start)) : undefined;
  }

  private restore(seq: string, start: Start): Sequence | undefined {
    const { model, loaded, kv, files } = this.options;
    const saved = find(snapshotName(model, seq), loaded.numerics, files);
    if (saved === undefined) return undefined;
    if (!continues(saved.head, start) || !this.filesPay(saved.head.pos)) {
      this.counts.abandoned += 1;
      return undefined;
    }
    const { pos, prompt, scores, hidden, ids } = saved.head;
    const sequence = { ...openSequence(seq, start, kv.open()), ids, pos, prompt, scores, hidden };
    const from = this.now();
    try {
      const bytes = fill(loaded, kv, sequence.table, saved, files, {
        grow: (table, tokens) => this.grow(table, tokens),
        // It does not wait for room: it is computed again.
        soon: () => undefined,
      });
      this.reading.add(bytes, this.now() - from);
      this.counts.restored += 1;
      this.counts.bytesRead += bytes;
    } catch (error) {
      kv.close(sequence.table);
      throw error;
    }
    return goOn(sequence, start);
  }

  /** Gives up what is known of these, here and in files. */
  forget(seqs: Iterable<string>): void {
    const { model, kv, files } = this.options;
    for (const seq of seqs) {
      const sequence = this.aside.get(seq);
      if (sequence) kv.close(sequence.table);
      this.aside.delete(seq);
      this.attempt("a snapshot could not be deleted", () => files.drop(snapshotName(model, seq)));
    }
  }

  forgetAll(): void {
    this.forget([...this.aside.keys()]);
  }

  /** Whether files are expected to bring so many tokens back sooner than prefill does. Until both were measured they are tried. */
  private filesPay(tokens: number): boolean {
    const reading = this.reading.ms(Math.ceil(tokens / BLOCK_TOKENS) * this.options.loaded.bytes.block);
    const prefill = this.prefill.ms(tokens);
    return reading === undefined || prefill === undefined || reading <= prefill;
  }

  /** A full disk or a broken file costs time, not the sequence. Any other error is our bug. */
  private attempt<T>(what: string, act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      return this.failed(what, error);
    }
  }

  private failed(what: string, error: unknown): undefined {
    if (!isSomaError(error) && (error as NodeJS.ErrnoException).syscall === undefined) throw error;
    this.options.warn(what, error as Error);
  }
}

/** Whether what was computed is a beginning of what is asked now, short of the id whose logits are still to come. */
function continues({ ids, pos }: Pick<Sequence, "ids" | "pos">, { ids: asked, mode }: Start): boolean {
  const most = mode === "generate" ? asked.length - 1 : asked.length;
  return pos <= most && ids.length <= asked.length && ids.every((id, i) => id === asked[i]);
}

function goOn(sequence: Sequence, start: Start): Sequence {
  return Object.assign(sequence, { start, ids: [...start.ids], leaving: undefined });
}
