// Owns one request at the caller: its chunks in order, its credit, its single outcome.
import { SomaError } from "../abi/errors.ts";
import { LIMITS } from "../abi/limits.ts";

interface Setup<O> {
  id: string;
  service: string;
  subject: string;
  ttl: number;
  complete?: (output: O) => boolean;
  control: (verb: "cancel" | "credit" | "chunk", body: object) => Promise<unknown>;
  done: () => void;
}

export class Stream<C, O> implements AsyncIterable<C> {
  /** Settles once, with the output or the error. */
  readonly result: Promise<O>;
  readonly accepted: Promise<{ instance: string; epoch: number }>;
  instance: string | undefined;
  epoch: number | undefined;

  private queue: C[] = [];
  private next = 0;
  private read = 0;
  private credited = 0;
  private finished = false;
  private ending: { output: O; timer: NodeJS.Timeout } | undefined;
  private error: Error | undefined;
  private wake: (() => void) | undefined;
  private timer: NodeJS.Timeout | undefined;
  private settle!: { resolve: (output: O) => void; reject: (error: Error) => void };
  private welcome!: { resolve: (who: { instance: string; epoch: number }) => void; reject: (error: Error) => void };

  constructor(private readonly setup: Setup<O>) {
    this.result = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.accepted = new Promise((resolve, reject) => {
      this.welcome = { resolve, reject };
    });
    // Whoever reads only the chunks learns of a failure from the iterator.
    this.result.catch(() => {});
    this.accepted.catch(() => {});
    if (setup.ttl > 0) {
      this.timer = setTimeout(() => {
        void this.setup.control("cancel", { id: this.id });
        this.fail(new SomaError("ETIME", `no answer from ${this.service} within ${setup.ttl} ms`));
      }, setup.ttl + LIMITS.deadlineGrace);
    }
  }

  get id(): string {
    return this.setup.id;
  }
  get service(): string {
    return this.setup.service;
  }
  get subject(): string {
    return this.setup.subject;
  }

  /** Ends the request at the other side; the outcome is ECANCELED, or the result that won the race. */
  cancel(): void {
    if (this.finished) return;
    void this.setup.control("cancel", { id: this.id });
    const late = setTimeout(() => this.fail(new SomaError("ECANCELED", "canceled")), 1_000);
    this.result.then(
      () => clearTimeout(late),
      () => clearTimeout(late),
    );
  }

  abortOn(signal: AbortSignal): void {
    if (signal.aborted) return this.cancel();
    const abort = () => this.cancel();
    signal.addEventListener("abort", abort, { once: true });
    const forget = () => signal.removeEventListener("abort", abort);
    this.result.then(forget, forget);
  }

  /** Sends the pieces of an upload, a few in flight, in order; resolves when the other side has all. */
  async upload(pieces: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
    await this.accepted;
    const flight: Promise<unknown>[] = [];
    let seq = 0;
    for await (const data of pieces) {
      flight.push(this.setup.control("chunk", { id: this.id, seq: seq++, data }));
      if (flight.length >= 8) await flight.shift();
    }
    await Promise.all(flight);
    await this.setup.control("chunk", { id: this.id, seq, data: null, last: true });
  }

  async *[Symbol.asyncIterator](): AsyncIterator<C> {
    try {
      for (;;) {
        while (this.queue.length > 0) {
          const chunk = this.queue.shift()!;
          this.read += 1;
          this.giveCredit();
          yield chunk;
        }
        // What was read counts from here on: `complete` may look at what the reader made of it.
        if (this.ending && this.setup.complete?.(this.ending.output)) this.finish(this.ending.output);
        if (this.error) throw this.error;
        if (this.finished) return;
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    } finally {
      // A reader that breaks off wants no more.
      this.cancel();
    }
  }

  // What the client calls.

  accept(who: { instance: string; epoch: number }): void {
    this.instance = who.instance;
    this.epoch = who.epoch;
    this.welcome.resolve(who);
  }

  push(chunk: unknown, seq: string): void {
    if (this.finished) return;
    // Chunks with a number come from the instance itself, in order; those without carry positions of their own.
    if (seq !== "" && Number(seq) !== this.next++) {
      // Nobody reads the rest: the other side need not make it.
      void this.setup.control("cancel", { id: this.id });
      return this.fail(new SomaError("EIO", `piece ${this.next - 1} of the answer was lost: ask again`));
    }
    this.queue.push(chunk as C);
    this.wake?.();
    if (this.ending && this.setup.complete?.(this.ending.output)) this.finish(this.ending.output);
  }

  /** `chunks`: how many numbered ones there were, if any. */
  end(output: unknown, chunks = ""): void {
    if (this.finished || this.ending) return;
    if (chunks !== "" && Number(chunks) !== this.next)
      return this.fail(new SomaError("EIO", `piece ${this.next} of the answer was lost: ask again`));
    if (this.setup.complete === undefined || this.setup.complete(output as O)) return this.finish(output as O);
    const timer = setTimeout(() => this.fail(new SomaError("EIO", "pieces of the answer were lost: ask again")), 1_000);
    this.ending = { output: output as O, timer };
    // A reader that waits has read all that came: it looks again, and so learns of pieces that were read but not counted.
    this.wake?.();
  }

  fail(error: Error): void {
    if (this.finished) return;
    this.error = error;
    this.close();
    this.settle.reject(error);
    this.welcome.reject(error);
  }

  private finish(output: O): void {
    this.close();
    this.settle.resolve(output);
    this.welcome.reject(new SomaError("ECANCELED", "answered before it was accepted"));
  }

  private close(): void {
    this.finished = true;
    clearTimeout(this.timer);
    clearTimeout(this.ending?.timer);
    this.setup.done();
    this.wake?.();
  }

  private giveCredit(): void {
    if (this.finished || this.read - this.credited < LIMITS.window / 2) return;
    this.credited = this.read;
    void this.setup.control("credit", { id: this.id, read: this.read });
  }
}
