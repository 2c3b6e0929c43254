// Owns tracing: W3C trace context of each request, its spans in this process, and which of them are kept. Names and numbers only.
import { randomFillSync } from "node:crypto";

/** One piece of work. What the stream `spans` holds, and `kernel.trace` answers. */
export interface Span {
  trace: string;
  span: string;
  /** "" for the first of its trace. */
  parent: string;
  name: string;
  actor: string;
  epoch: number;
  /** Unix ms, with a fraction. */
  at: number;
  ms: number;
  /** Of a request: its outcome, its id, who asked and for whom. */
  code?: string;
  id?: string;
  caller?: string;
  principal?: string;
  figures?: Record<string, number | string>;
}

export interface TracerOptions {
  actor: string;
  epoch: number;
  /** Fire and forget: spans may be lost, calls may not wait for them. */
  publish: (spans: Span[]) => void;
  /** Of the traces that begin here beyond `FREE` a second, this share is kept; 0 keeps none at all, nor errors. */
  ratio?: number;
  /** ms, monotonic. */
  now?: () => number;
  /** Unix ms at `now() === 0`. */
  origin?: number;
}

/** Of the traces that begin here, so many a second are kept whatever the ratio: on a quiet system each call has its trace. */
const FREE = 5;
const BURST = 20;
const RATIO = 0.02;
/** A request is slow, and kept, when it took so long, ms, and so many times the mean of its call. */
const SLOW_MS = 1_000;
const SLOW_TIMES = 4;
/** Spans of one request that wait for its end, and spans that wait to be published; further ones are dropped. */
const HELD = 256;
const WAITING = 2_048;
/** A batch leaves when it is so large or so old, in spans and ms. */
const BATCH = 128;
const GATHER = 250;

const CONTEXT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const NONE = /^0+$/;

/** `SOMA_TRACE` as a ratio: a number from 0 to 1. Anything else is the default. */
export function traceRatio(text: string | undefined): number {
  const ratio = text === undefined || text.trim() === "" ? Number.NaN : Number(text);
  return ratio >= 0 && ratio <= 1 ? ratio : RATIO;
}

export class Tracer {
  readonly options: Required<TracerOptions>;
  private readonly means = new Map<string, number>();
  private waiting: Span[] = [];
  private timer: NodeJS.Timeout | undefined;
  private free = BURST;
  private freeAt: number;
  /** Spans that found no room, for `stat`. */
  lost = 0;

  constructor(options: TracerOptions) {
    this.options = { ratio: RATIO, now: () => performance.now(), origin: performance.timeOrigin, ...options };
    this.freeAt = this.options.now();
  }

  /** The context of a request that came with this header: a child of it, or the first of a new trace when there is none. */
  begin(header: string): Trace {
    const [, trace, parent, flags] = CONTEXT.exec(header) ?? [];
    if (trace === undefined || NONE.test(trace) || NONE.test(parent!))
      return new Trace(this, hex(16), "", this.options.ratio > 0 && this.chosen());
    return new Trace(this, trace, parent!, (Number.parseInt(flags!, 16) & 1) === 1 && this.options.ratio > 0);
  }

  /** A span under a context of elsewhere, if that is kept; times as of `now`. */
  add(header: string, name: string, from: number, until: number, figures?: Span["figures"]): void {
    const [, trace, parent, flags] = CONTEXT.exec(header) ?? [];
    if (trace === undefined || (Number.parseInt(flags!, 16) & 1) === 0) return;
    this.keep([this.span(trace, parent!, name, from, until, figures)]);
  }

  span(trace: string, parent: string, name: string, from: number, until: number, figures?: Span["figures"]): Span {
    const { actor, epoch, origin } = this.options;
    const span = { trace, span: hex(8), parent, name, actor, epoch, at: origin + from, ms: until - from };
    return figures === undefined ? span : { ...span, figures };
  }

  /** Whether a call that took so long is slow for its kind; learns its mean. */
  slow(name: string, ms: number): boolean {
    const mean = this.means.get(name);
    this.means.set(name, mean === undefined ? ms : 0.95 * mean + 0.05 * ms);
    return ms > SLOW_MS && ms > SLOW_TIMES * (mean ?? 0);
  }

  keep(spans: Span[]): void {
    const room = WAITING - this.waiting.length;
    this.lost += Math.max(0, spans.length - room);
    this.waiting.push(...spans.slice(0, room));
    if (this.waiting.length >= BATCH) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), GATHER).unref();
  }

  /** Publishes what waits. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    while (this.waiting.length > 0) this.options.publish(this.waiting.splice(0, BATCH));
  }

  private chosen(): boolean {
    const now = this.options.now();
    this.free = Math.min(BURST, this.free + ((now - this.freeAt) * FREE) / 1_000);
    this.freeAt = now;
    if (this.free < 1) return Math.random() < this.options.ratio;
    this.free -= 1;
    return true;
  }
}

/** One request in this process: what it hands on, and its spans until its end decides whether they are kept. */
export class Trace {
  readonly span = hex(8);
  /** For calls that are made on its behalf. */
  readonly traceparent: string;
  private held: Span[] = [];

  constructor(
    private readonly tracer: Tracer,
    readonly trace: string,
    private readonly parent: string,
    readonly kept: boolean,
  ) {
    this.traceparent = `00-${trace}-${this.span}-${kept ? "01" : "00"}`;
  }

  /** A part of it, with times as of performance.now(). */
  add(name: string, from: number, until: number, figures?: Span["figures"]): void {
    if (this.tracer.options.ratio === 0) return;
    const span = this.tracer.span(this.trace, this.span, name, from, until, figures);
    if (this.kept) this.tracer.keep([span]);
    else if (this.held.length < HELD) this.held.push(span);
  }

  /** Its outcome. What failed or was slow is kept in any case, as far as this process saw it. */
  end(name: string, startedAt: number, about: Required<Pick<Span, "code" | "id" | "caller" | "principal">>): void {
    const { options } = this.tracer;
    if (options.ratio === 0) return;
    const until = options.now();
    const slow = this.tracer.slow(name, until - startedAt);
    if (!this.kept && !slow && about.code === "OK") return;
    const whole = this.tracer.span(this.trace, this.parent, name, startedAt, until);
    this.tracer.keep([...this.held, { ...whole, span: this.span, ...about }]);
    this.held = [];
  }
}

const pool = Buffer.alloc(4_096);
let used = pool.length;

/** So many random bytes as hex. */
function hex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString("hex", used - bytes, used);
}
