// Owns the caller's side: requests in flight, their deadlines, DOWN events, retries. Each request has exactly one outcome.
import { randomBytes } from "node:crypto";
import { decode, encode } from "../abi/codec.ts";
import { SomaError, type WireError } from "../abi/errors.ts";
import { HEADERS, type Principal } from "../abi/headers.ts";
import { ABI, LIMITS } from "../abi/limits.ts";
import { serviceOf } from "../abi/names.ts";
import { ALL, ANY, parseCall, subjects } from "../abi/subjects.ts";
import { type CallName, type Chunk, type Input, type Output, syscall } from "../abi/syscalls.ts";
import type { Bus, Headers, Message } from "./bus.ts";
import { Stream } from "./stream.ts";

export interface CallOptions {
  /** ms; 0 means no deadline. */
  ttl?: number;
  signal?: AbortSignal;
  /** Stable over retries. */
  key?: string;
  /** A certain instance instead of any. */
  instance?: string;
  /** For whom a service works. */
  for?: Principal;
  traceparent?: string;
  /** false: never repeat by itself. */
  retry?: boolean;
}

export interface StreamOptions<O> extends CallOptions {
  /** Chunks that come from elsewhere may be later than `end`: the stream lingers until this holds, for a second at most. */
  complete?: (output: O) => boolean;
}

/** What may be tried again by itself, when surely not executed or idempotent. */
const REPEATABLE = new Set(["EAGAIN", "EBUSY", "ESERVICEDOWN"]);

export class Client {
  private readonly prefix: string;
  private readonly pending = new Map<string, Stream<unknown, unknown>>();
  private number = 0;

  constructor(readonly bus: Bus) {
    // One subscription for all replies; the last token is the request's id.
    this.prefix = `${subjects.inbox(bus.name)}.${randomBytes(6).toString("hex")}`;
    bus.subscribe(`${this.prefix}.*`, (message) => this.receive(message));
    bus.subscribe("evt.kernel.down.>", (message) => this.down(message));
    bus.on((event) => {
      if (event.type === "lost" || event.type === "closed") this.lost();
      else if (event.type === "denied" && event.operation === "publish") this.denied(event.subject);
    });
  }

  /** One request, one reply. Repeats by itself, within the ttl, what is idempotent or was surely not executed. */
  async call<N extends CallName>(name: N, input: Input<N>, options: CallOptions = {}): Promise<Output<N>> {
    const entry = syscall(...split(name));
    const ttl = options.ttl ?? entry?.ttl ?? LIMITS.callTtl;
    const until = ttl === 0 ? Number.POSITIVE_INFINITY : performance.now() + ttl;
    const key = options.key ?? this.freshId();
    for (let attempt = 0; ; attempt++) {
      const left = until - performance.now();
      try {
        const stream = this.stream(name, input, {
          ...options,
          key,
          ...(ttl === 0 ? {} : { ttl: Math.max(1, Math.ceil(left)) }),
        });
        return await stream.result;
      } catch (error) {
        const wait = error instanceof SomaError ? repeatAfter(error, entry?.idempotent ?? false, attempt) : undefined;
        if (
          wait === undefined ||
          options.retry === false ||
          options.signal?.aborted ||
          performance.now() + wait >= until
        )
          throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** A request whose chunks are read with `for await`; `result` is its end. Sent at most once. */
  stream<N extends CallName>(
    name: N,
    input: Input<N>,
    options: StreamOptions<Output<N>> = {},
  ): Stream<Chunk<N>, Output<N>> {
    const [owner, call] = split(name);
    const entry = syscall(owner, call);
    const id = this.freshId();
    const ttl = options.ttl ?? entry?.ttl ?? LIMITS.callTtl;
    const subject = subjects.call(this.bus.name, owner, options.instance ?? ANY, call);
    const stream: Stream<Chunk<N>, Output<N>> = new Stream<Chunk<N>, Output<N>>({
      id,
      service: owner,
      subject,
      ttl,
      ...(options.complete ? { complete: options.complete } : {}),
      control: (verb, body) => this.control(stream, verb, body),
      done: () => this.pending.delete(id),
    });
    if (entry === undefined) {
      // The broker would only say that it is not allowed.
      stream.fail(new SomaError("ENOSYS", `there is no call ${name}: see docs/syscalls.md`));
      return stream;
    }
    if (!this.bus.connected) {
      stream.fail(new SomaError("EIO", "the broker is away: try again when it is back", { executed: "no" }));
      return stream;
    }
    let body: Uint8Array;
    try {
      body = encode(input);
    } catch (error) {
      stream.fail(error as Error);
      return stream;
    }
    this.pending.set(id, stream as unknown as Stream<unknown, unknown>);
    this.bus.publish(subject, body, this.headers(id, ttl, options), `${this.prefix}.${id}`);
    if (options.signal) stream.abortOn(options.signal);
    return stream;
  }

  /** Where replies to request `id` go: handed to services whose answers come from elsewhere. */
  inboxOf(id: string): string {
    return `${this.prefix}.${id}`;
  }

  get inflight(): number {
    return this.pending.size;
  }

  private headers(id: string, ttl: number, options: CallOptions): Headers {
    return {
      [HEADERS.id]: id,
      [HEADERS.key]: options.key ?? id,
      [HEADERS.abi]: String(ABI),
      ...(ttl > 0 ? { [HEADERS.ttl]: String(ttl) } : {}),
      ...(options.traceparent ? { [HEADERS.traceparent]: options.traceparent } : {}),
      ...(options.for ? { [HEADERS.for]: JSON.stringify(options.for) } : {}),
    };
  }

  /** Control goes to the instance that accepted; a cancel before that goes to all. */
  private control(stream: Stream<any, any>, verb: "cancel" | "credit" | "chunk", body: object): Promise<unknown> {
    const instance = stream.instance ?? ALL;
    if (verb === "chunk") {
      return this.call(`${stream.service}.chunk` as "memory.chunk", body as Input<"memory.chunk">, { instance });
    }
    // Fire and forget: both are idempotent, and losing one only delays.
    this.send(stream.service, instance, verb, body);
    return Promise.resolve();
  }

  private release(id: string, { instance }: { instance: string }): void {
    const service = instance === "kernel" ? instance : serviceOf(instance);
    if (service !== undefined) this.send(service, instance, "cancel", { id });
  }

  private send(service: string, instance: string, verb: "cancel" | "credit", body: object): void {
    if (!this.bus.connected) return;
    this.bus.publish(subjects.call(this.bus.name, service, instance, verb), encode(body), {
      [HEADERS.id]: this.freshId(),
      [HEADERS.abi]: String(ABI),
    });
  }

  private receive(message: Message): void {
    const id = message.subject.slice(this.prefix.length + 1);
    const stream = this.pending.get(id);
    if (stream === undefined) {
      // Late: the request has its outcome already. Who says that it still works for it is told to stop: word of that was
      // lost, or could not be sent while the broker was away.
      if (message.header(HEADERS.type) === "accepted") this.release(id, decode(message.data) as { instance: string });
      return;
    }
    if (message.status === 503) {
      return stream.fail(
        new SomaError("ESERVICEDOWN", `nobody serves ${stream.service}: see "soma ps"`, { executed: "no" }),
      );
    }
    const body = decode(message.data);
    switch (message.header(HEADERS.type)) {
      case "accepted":
        return stream.accept(body as { instance: string; epoch: number });
      case "chunk":
        return stream.push(body, message.header(HEADERS.seq));
      case "end":
        return stream.end(body, message.header(HEADERS.seq));
      case "error":
        return stream.fail(SomaError.fromWire(body as WireError));
      default:
        return stream.fail(new SomaError("EIO", "a reply of unknown type: are all parts of one version?"));
    }
  }

  private down(message: Message): void {
    const [, , , service, instance, epoch] = message.subject.split(".");
    for (const stream of [...this.pending.values()]) {
      // Not accepted yet: it may have been in the mailbox of the one that died, unless it was sent to another one.
      const hit =
        stream.instance === undefined
          ? stream.service === service && [ANY, ALL, instance].includes(parseCall(stream.subject)?.instance ?? "")
          : stream.instance === instance && stream.epoch === Number(epoch);
      if (hit)
        stream.fail(new SomaError("ESERVICEDOWN", `${instance} went down during the request`, { executed: "maybe" }));
    }
  }

  private lost(): void {
    for (const stream of [...this.pending.values()]) {
      stream.fail(new SomaError("EIO", "the broker went away during the request", { executed: "maybe" }));
    }
  }

  private denied(subject: string): void {
    for (const stream of [...this.pending.values()]) {
      if (stream.subject !== subject) continue;
      const [, , service, , call] = subject.split(".");
      const fix = `soma app grant ${this.bus.name} --call ${service}.${call}`;
      stream.fail(
        new SomaError("EPERM", `"${this.bus.name}" lacks the right ${service}.${call}: ${fix}`, { executed: "no" }),
      );
    }
  }

  private freshId(): string {
    this.number += 1;
    return `${this.prefix.slice(-12)}${this.number.toString(36)}`;
  }
}

function split(name: string): [string, string] {
  const [owner = "", call = ""] = name.split(".");
  return [owner, call];
}

/** ms to wait before repeating, or undefined when it must not be repeated. */
function repeatAfter(error: SomaError, idempotent: boolean, attempt: number): number | undefined {
  if (!error.retryable || !REPEATABLE.has(error.code)) return undefined;
  if (!idempotent && error.executed !== "no") return undefined;
  // Never before it was asked to; and not all at once.
  if (error.retryAfterMs !== undefined) return error.retryAfterMs * (1 + Math.random() / 2);
  return Math.min(500, 20 * 2 ** attempt) * (0.75 + Math.random() / 2);
}
