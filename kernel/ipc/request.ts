// Owns one request at the server: who asks, until when, its reply, its credit and uploads.
import { SomaError } from "../abi/errors.ts";
import type { Principal, ReplyType } from "../abi/headers.ts";
import { LIMITS } from "../abi/limits.ts";
import type { Noted } from "./audit.ts";
import type { Trace } from "./trace.ts";

/** Pieces of an upload that may wait to be read; more and the sender waits. */
const UPLOADS = 16;

export type Send = (type: ReplyType, body: unknown, seq?: number) => void;

export interface RequestInfo {
  /** `<caller>/<id>`: unique among running requests, and what events carry. */
  mid: string;
  id: string;
  key: string;
  caller: string;
  /** For whom: the caller itself, unless a service works for somebody. */
  principal: Principal;
  call: string;
  /** performance.now() time, Infinity for none. */
  deadline: number;
  /** For calls on its behalf: W3C context of this request, or what it came with where nothing is traced. */
  traceparent: string;
  trace?: Trace | undefined;
  reply: string;
}

export class Request implements RequestInfo {
  readonly mid: string;
  readonly id: string;
  readonly key: string;
  readonly caller: string;
  readonly principal: Principal;
  readonly call: string;
  readonly deadline: number;
  readonly traceparent: string;
  /** Its spans in this process. */
  readonly trace: Trace | undefined;
  readonly reply: string;
  readonly startedAt = performance.now();
  /** Aborts when the caller cancels or the deadline passes. */
  readonly abort = new AbortController();

  /** What the audit keeps of the input until the end. */
  noted: Noted | undefined;
  done = false;
  /** Its outcome is fixed and being recorded; the reply follows. */
  settled = false;
  accepted = false;
  private seq = 0;
  private read = 0;
  private waiting: (() => void)[] = [];
  private uploadNext = 0;
  private uploads: unknown[] = [];
  private uploadEnded = false;
  private uploadWake: (() => void) | undefined;
  private uploadRoom: (() => void)[] = [];

  constructor(
    info: RequestInfo,
    private readonly send: Send,
  ) {
    this.mid = info.mid;
    this.id = info.id;
    this.key = info.key;
    this.caller = info.caller;
    this.principal = info.principal;
    this.call = info.call;
    this.deadline = info.deadline;
    this.traceparent = info.traceparent;
    this.trace = info.trace;
    this.reply = info.reply;
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** ms that it was given, Infinity without a deadline. */
  get ttl(): number {
    return this.deadline - this.startedAt;
  }

  /** ms left, Infinity without a deadline: what to hand on as `ttl`. */
  get left(): number {
    return this.deadline - performance.now();
  }

  accept(who: { instance: string; epoch: number }): void {
    if (this.accepted || this.done) return;
    this.accepted = true;
    this.send("accepted", who);
  }

  /** Sends a chunk; the promise resolves when the reader has room for another. */
  async emit(chunk: unknown): Promise<void> {
    if (this.done) return;
    this.send("chunk", chunk, this.seq++);
    while (!this.done && this.seq - this.read >= LIMITS.window) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** True while a further chunk would wait for the reader. */
  get congested(): boolean {
    return this.seq - this.read >= LIMITS.window;
  }

  credit(read: number): void {
    this.read = Math.max(this.read, Math.min(read, this.seq));
    this.release();
  }

  /** Takes piece `seq` of an upload; returns the next one expected. Repeats and pieces out of order are not taken. */
  take(seq: number, data: unknown, last: boolean): number {
    if (seq === this.uploadNext && !this.uploadEnded) {
      this.uploadNext += 1;
      if (last) this.uploadEnded = true;
      else this.uploads.push(data);
      this.uploadWake?.();
    }
    return this.uploadNext;
  }

  /** Resolves when fewer than `UPLOADS` pieces wait to be read, or nobody reads them any more. */
  async room(): Promise<void> {
    while (this.uploads.length >= UPLOADS && !this.done) {
      await new Promise<void>((resolve) => this.uploadRoom.push(resolve));
    }
  }

  /** What the caller uploads, in order. Ends with its last piece; throws when the request is over before. */
  async *received(): AsyncGenerator<unknown> {
    for (;;) {
      while (this.uploads.length > 0) {
        const piece = this.uploads.shift();
        for (const wake of this.uploadRoom.splice(0)) wake();
        yield piece;
      }
      if (this.uploadEnded) return;
      if (this.done || this.signal.aborted) throw new SomaError("ECANCELED", "the upload was broken off");
      await new Promise<void>((resolve) => {
        this.uploadWake = resolve;
      });
    }
  }

  /** The one final reply; false if there was one already. */
  finish(type: "end" | "error", body: unknown): boolean {
    if (this.done) return false;
    // May throw E2BIG: then there was no reply yet. With the number of chunks, so that the loss of the last one shows.
    this.send(type, body, type === "end" && this.seq > 0 ? this.seq : undefined);
    this.done = true;
    this.release();
    this.uploadWake?.();
    return true;
  }

  private release(): void {
    for (const wake of [...this.waiting.splice(0), ...this.uploadRoom.splice(0)]) wake();
  }
}
