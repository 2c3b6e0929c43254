// Owns the server's side: the only subscriber to calls. Checks at the door, then hands each request to its handler; each gets exactly one final reply.
import type { z } from "zod";
import { decode, encode } from "../abi/codec.ts";
import { SomaError } from "../abi/errors.ts";
import { HEADERS, type ReplyType } from "../abi/headers.ts";
import type { Owner } from "../abi/names.ts";
import { ALL, ANY, parseCall, replyAllowed, subjects } from "../abi/subjects.ts";
import { isRecorded, type Syscall } from "../abi/syscall.ts";
import { CONTROL, type Syscalls, syscall } from "../abi/syscalls.ts";
import type { Audit } from "./audit.ts";
import type { Bus, Headers, Message, Subscription } from "./bus.ts";
import { watchCallers } from "./callers.ts";
import { Door, type DoorOptions } from "./door.ts";
import { Lengths } from "./lengths.ts";
import { Request, type Send } from "./request.ts";
import type { Tracer } from "./trace.ts";

/** Returned by a handler whose answer comes later through `reply` or `fail`. */
export const DEFER = Symbol("defer");

type Own<O extends Owner> = Exclude<
  keyof Syscalls[O],
  "cancel" | "credit" | "chunk" | "stat" | "metrics" | "inspect" | "watch"
>;
type Answer<S extends Syscall> = z.input<S["output"]> | typeof DEFER;
/** One handler for each call of an owner; common calls are answered here or by the service runtime. */
export type Handlers<O extends Owner> = {
  [C in Own<O>]: Syscalls[O][C] extends Syscall
    ? (
        input: z.output<Syscalls[O][C]["input"]>,
        request: Request,
      ) => Answer<Syscalls[O][C]> | Promise<Answer<Syscalls[O][C]>>
    : never;
};
/** Requests that are over are remembered, so many of them: one that comes a second time is not done a second time. */
const REMEMBERED = 4_096;
/** Refusals leave at least so often, ms. */
const FLUSH = 5;
type AnyHandler = (input: unknown, request: Request) => unknown;

export interface ServerOptions extends DoorOptions {
  instance: string;
  epoch: number;
  handlers: Record<string, AnyHandler>;
  /** Takes the outcome of every call, and of those that were turned away. */
  audit?: Audit;
  /** Gives each request its trace context; its end is for `observe` to tell. */
  tracer?: Tracer;
  /** Called once for each final reply, for metrics. */
  observe?: (request: Request, outcome: { code: string; ms: number; output?: unknown }) => void;
  /** Called once for each call that was turned away at the door, for metrics. */
  refused?: (caller: string, call: string, code: string) => void;
  /** An unexpected throw: our bug; `request`: while it was served. */
  crash: (error: unknown, request?: Request) => void;
}

export class Server {
  private readonly requests = new Map<string, Request>();
  private readonly door: Door;
  private readonly lengths = new Lengths();
  private readonly timers = new Map<string, NodeJS.Timeout>();
  /** The last that were answered, oldest first. */
  private readonly answered = new Set<string>();
  /** Handlers at work, with the time when their request was over before them. */
  private readonly working = new Map<Request, number | undefined>();
  private subscriptions: Subscription[] = [];
  private stopWatching: () => void = () => {};
  private idle: (() => void)[] = [];
  /** Of what is said again and again, the bytes: `EBUSY`, by the ms that it asks to wait. */
  private readonly busy = new Map<number, Uint8Array>();
  private readonly plain = new Map<ReplyType, Headers>();
  private flushedAt = 0;
  served = 0;

  constructor(
    private readonly bus: Bus,
    private readonly options: ServerOptions,
  ) {
    this.door = new Door(options, () => bus.flush());
  }

  /** Starts to listen: as one of many to `any`, alone to its own name, and to `all`. */
  start(): void {
    const { owner, instance } = this.options;
    const listen = (name: string, queue?: string) =>
      this.bus.subscribe(subjects.serve(owner, name), (message) => this.receive(message), queue);
    this.subscriptions = [listen(ANY, owner), listen(instance), listen(ALL)];
    this.door.open();
    this.stopWatching = watchCallers(this.bus, {
      instance,
      epoch: this.options.epoch,
      running: () => this.running(),
      gone: (request) => this.cancel(request),
    });
  }

  get inflight(): number {
    return this.requests.size;
  }

  /** ms by which the most overdue handler has outlived its request: more than a little is a hang. */
  get overdueMs(): number {
    const now = performance.now();
    return [...this.working.values()].reduce<number>((most, since) => Math.max(most, now - (since ?? now)), 0);
  }

  running(): Request[] {
    return [...this.requests.values()];
  }

  /** How many requests of this caller run. */
  runningOf(caller: string): number {
    return this.door.runningOf(caller);
  }

  /** ms until the first request of these callers is expected to be over; undefined when none runs. */
  soonest(callers: ReadonlySet<string>): number | undefined {
    return this.lengths.first(this.running().filter(({ caller }) => callers.has(caller)));
  }

  /** Ends all that runs for a caller whose grant is gone. */
  evict(caller: string): void {
    for (const request of this.running()) {
      if (request.caller !== caller) continue;
      request.abort.abort();
      const gone = new SomaError("EPERM", `the grant of "${caller}" was revoked or has expired`, { executed: "maybe" });
      setImmediate(() => this.refuse(request, gone));
    }
  }

  request(mid: string): Request | undefined {
    return this.requests.get(mid);
  }

  /** The final reply of a deferred request; quietly nothing if it has one already (canceled, expired). */
  reply(mid: string, output: unknown): void {
    const request = this.requests.get(mid);
    if (request) this.finish(request, output);
  }

  /** A coded refusal of a deferred request; an error without a code is our bug. */
  fail(mid: string, error: unknown): void {
    const request = this.requests.get(mid);
    if (request) this.refuse(request, error);
  }

  emit(mid: string, chunk: unknown): Promise<void> {
    return this.requests.get(mid)?.emit(chunk) ?? Promise.resolve();
  }

  /** Stops to listen, waits for what runs (up to `ms`), then refuses the rest. nc.drain() would not wait for handlers. */
  async drain(ms: number): Promise<void> {
    await Promise.all(this.subscriptions.map((subscription) => subscription.drain()));
    this.stopWatching();
    this.door.close();
    if (this.requests.size > 0) {
      await Promise.race([
        new Promise<void>((resolve) => this.idle.push(resolve)),
        new Promise<void>((resolve) => setTimeout(resolve, ms).unref()),
      ]);
    }
    for (const request of this.running()) {
      request.abort.abort();
      this.refuse(request, new SomaError("ESERVICEDOWN", `${this.options.instance} stopped`, { executed: "maybe" }));
    }
    if (this.bus.connected) await this.bus.flush();
  }

  private receive(message: Message): void {
    const subject = parseCall(message.subject);
    if (subject === undefined) return;
    const { caller, call } = subject;
    const id = message.header(HEADERS.id);
    const refused = (code: string) => {
      this.options.refused?.(caller, call, code);
      this.options.audit?.refused(caller, `${this.options.owner}.${call}`, id, code);
    };
    if (message.reply !== "" && !replyAllowed(caller, message.reply)) return refused("EPERM");
    const send: Send = (type, body, seq) => this.send(message.reply, type, body, seq);
    try {
      this.open(message, caller, call, id, send);
    } catch (error) {
      if (!(error instanceof SomaError)) return this.options.crash(error);
      send("error", error.toWire());
      refused(error.code);
    }
  }

  private open(message: Message, caller: string, call: string, id: string, send: Send): void {
    const { owner } = this.options;
    const visitor = this.door.meet(message, caller, call);
    const control = (CONTROL as readonly string[]).includes(call);
    const mid = `${caller}/${id}`;
    if (!control) {
      // The same attempt again: it runs already and will be answered once, or was.
      if (this.requests.has(mid) || this.answered.has(mid)) return;
      if (!(visitor.ttl > 0)) throw new SomaError("ETIME", "the deadline had passed on arrival", { executed: "no" });
      const wait = this.door.full(visitor);
      if (wait !== undefined) return this.turnAway(message.reply, caller, call, id, wait);
    }
    const parsed = visitor.entry.input.safeParse(decode(message.data) ?? {});
    if (!parsed.success) throw new SomaError("EINVAL", `${owner}.${call}: ${issueText(parsed.error)}`);
    if (control) return this.control(caller, call, parsed.data as Control, send);
    if (!/^[\w-]{1,64}$/.test(id))
      throw new SomaError("EINVAL", 'header "id" must be 1 to 64 of A-Z, a-z, 0-9, "_", "-"');
    const principal = this.door.principal(message.header(HEADERS.for), visitor, parsed.data);
    const trace = this.options.tracer?.begin(message.header(HEADERS.traceparent));
    const request = new Request(
      {
        mid,
        id,
        key: message.header(HEADERS.key) || id,
        caller,
        principal,
        call,
        deadline: performance.now() + visitor.ttl,
        traceparent: trace?.traceparent ?? message.header(HEADERS.traceparent),
        trace,
        reply: message.reply,
      },
      send,
    );
    this.run(request, parsed.data);
  }

  /** No error object, nothing encoded anew: this is said thousands of times a second when a flood comes. */
  private turnAway(reply: string, caller: string, call: string, id: string, wait: number): void {
    const { audit, owner } = this.options;
    let body = this.busy.get(wait);
    if (body === undefined) {
      const why = `${owner} has its hands full: try again in ${wait} ms`;
      body = encode(new SomaError("EBUSY", why, { retryAfterMs: wait }).toWire());
      this.busy.set(wait, body);
    }
    this.publish(reply, "error", body);
    audit?.refused(caller, `${owner}.${call}`, id, "EBUSY");
    // One turn of the loop may read megabytes of a flood: what was answered does not wait for its end.
    const now = performance.now();
    if (now - this.flushedAt < FLUSH || !this.bus.connected) return;
    this.flushedAt = now;
    // That the connection went away, the bus tells by itself.
    this.bus.flush().catch(() => undefined);
  }

  private run(request: Request, input: unknown): void {
    request.noted = this.options.audit?.note(request.caller, request.principal, input);
    this.requests.set(request.mid, request);
    this.door.began(request);
    if (request.left < 0x7fffffff) {
      this.timers.set(
        request.mid,
        setTimeout(() => {
          request.abort.abort();
          this.refuse(request, new SomaError("ETIME", "the deadline passed"));
        }, request.left),
      );
    }
    const handler = this.options.handlers[request.call];
    if (handler === undefined)
      throw new Error(`${this.options.owner}.${request.call} is in the table but has no handler`);
    let answer: unknown;
    try {
      answer = handler(input, request);
    } catch (error) {
      return this.refuse(request, error);
    }
    if (answer === DEFER) {
      request.accept({ instance: this.options.instance, epoch: this.options.epoch });
    } else if (answer instanceof Promise) {
      // Told at once, so that the caller can be failed when this very instance goes down.
      request.accept({ instance: this.options.instance, epoch: this.options.epoch });
      this.working.set(request, undefined);
      const settled = () => void this.working.delete(request);
      answer.then(settled, settled);
      answer.then(
        (output) => {
          if (output !== DEFER) this.finish(request, output);
        },
        (error) => this.refuse(request, error),
      );
    } else {
      this.finish(request, answer);
    }
  }

  private control(caller: string, call: string, input: Control, send: Send): void {
    const request = this.requests.get(`${caller}/${input.id}`);
    if (call === "chunk") {
      if (request === undefined) throw new SomaError("ENOENT", "the upload's request is over");
      const next = request.take(input.seq!, input.data, input.last ?? false);
      // Answered once there is room, so that an upload is no faster than what takes it in.
      void request.room().then(() => send("end", { next }));
      return;
    }
    if (request !== undefined) {
      if (call === "credit") request.credit(input.read!);
      else this.cancel(request);
    }
    send("end", { found: request !== undefined });
  }

  /** Tells the handler; what it does not settle itself is answered ECANCELED right after. */
  private cancel(request: Request): void {
    request.abort.abort();
    setImmediate(() => this.refuse(request, new SomaError("ECANCELED", "canceled by the caller")));
  }

  private finish(request: Request, output: unknown): void {
    const { audit, owner } = this.options;
    if (request.done || request.settled) return;
    const outcome = { code: "OK", ms: performance.now() - request.startedAt, output };
    try {
      if (audit === undefined || !isRecorded(syscall(owner, request.call)!)) {
        request.finish("end", output);
        return this.close(request, outcome);
      }
    } catch (error) {
      return this.refuse(request, error);
    }
    // From here on the outcome stands: nothing but the reply is left, and it waits for the record.
    request.settled = true;
    void audit.stored(request, `${owner}.${request.call}`, "OK", outcome.ms, output).then(() => {
      request.finish("end", output);
      this.close(request, outcome);
    });
  }

  private refuse(request: Request, error: unknown): void {
    if (!(error instanceof SomaError)) return this.options.crash(error, request);
    if (request.settled || !request.finish("error", error.toWire())) return;
    this.close(request, { code: error.code, ms: performance.now() - request.startedAt });
  }

  private close(request: Request, outcome: { code: string; ms: number; output?: unknown }): void {
    const { audit, owner } = this.options;
    if (!request.settled) audit?.outcome(request, `${owner}.${request.call}`, outcome.code, outcome.ms, outcome.output);
    clearTimeout(this.timers.get(request.mid));
    this.timers.delete(request.mid);
    this.requests.delete(request.mid);
    this.door.ended(request, outcome.code === "OK");
    if (outcome.code === "OK") this.lengths.ended(request.call, outcome.ms);
    this.answered.add(request.mid);
    if (this.answered.size > REMEMBERED) this.answered.delete(this.answered.values().next().value!);
    if (this.working.has(request)) this.working.set(request, performance.now());
    this.served += 1;
    this.options.observe?.(request, outcome);
    if (this.requests.size === 0) for (const wake of this.idle.splice(0)) wake();
  }

  private send(reply: string, type: ReplyType, body: unknown, seq?: number): void {
    // Encoded in any case: E2BIG must be thrown before a request counts as answered.
    this.publish(reply, type, encode(body ?? {}), seq);
  }

  private publish(reply: string, type: ReplyType, data: Uint8Array, seq?: number): void {
    // While the broker is away nothing could be delivered; the caller has made its own outcome of that.
    if (reply === "" || !this.bus.connected) return;
    const plain = this.plainHeaders(type);
    this.bus.publish(reply, data, seq === undefined ? plain : { ...plain, [HEADERS.seq]: String(seq) });
  }

  /** Frozen, so that the bus builds them once. */
  private plainHeaders(type: ReplyType): Headers {
    let headers = this.plain.get(type);
    if (headers === undefined) {
      headers = Object.freeze({ [HEADERS.type]: type, [HEADERS.epoch]: String(this.options.epoch) });
      this.plain.set(type, headers);
    }
    return headers;
  }
}

interface Control {
  id: string;
  read?: number;
  seq?: number;
  data?: unknown;
  last?: boolean;
}
function issueText(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join(".") || "input"}: ${issue.message}`)
    .join("; ");
}
