// Owns the server's side: the only subscriber to calls. Checks at the door, then hands each request to its handler; each gets exactly one final reply.
import type { z } from "zod";
import { decode, encode } from "../abi/codec.ts";
import { SomaError } from "../abi/errors.ts";
import { HEADERS, type Principal } from "../abi/headers.ts";
import { ABI, LIMITS } from "../abi/limits.ts";
import { type Owner, roleOf } from "../abi/names.ts";
import { ALL, ANY, parseCall, replyAllowed, subjects } from "../abi/subjects.ts";
import { isRecorded, MAY, type Syscall } from "../abi/syscall.ts";
import { CONTROL, type Syscalls, syscall } from "../abi/syscalls.ts";
import type { Audit } from "./audit.ts";
import type { Bus, Message, Subscription } from "./bus.ts";
import { watchCallers } from "./callers.ts";
import { Pace } from "./pace.ts";
import { Request, type Send } from "./request.ts";
import type { Tracer } from "./trace.ts";

/** Returned by a handler whose answer comes later through `reply` or `fail`. */
export const DEFER = Symbol("defer");

type Own<O extends Owner> = Exclude<keyof Syscalls[O], "cancel" | "credit" | "chunk" | "stat" | "inspect" | "watch">;
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
type AnyHandler = (input: unknown, request: Request) => unknown;

export interface ServerOptions {
  owner: Owner;
  instance: string;
  epoch: number;
  handlers: Record<string, AnyHandler>;
  /** Checks an app's grant; throws EPERM or EDQUOT. Called for apps only, with the parsed input. */
  authorize?: (caller: string, name: string, input: unknown) => Principal;
  /** Takes the outcome of every call, and of those that were turned away. */
  audit?: Audit;
  /** Gives each request its trace context; its end is for `observe` to tell. */
  tracer?: Tracer;
  /** Called once for each final reply, for metrics. */
  observe?: (request: Request, outcome: { code: string; ms: number; output?: unknown }) => void;
  /** An unexpected throw: our bug. */
  crash: (error: unknown) => void;
  mailbox?: number;
  mailboxPerCaller?: number;
}

/** How often the loop shows that it turns; when that is so late, ms, and so many requests run, apps and people are turned away. */
const TURN = 25;
const BEHIND = 75;
const CROWD = 32;

export class Server {
  private readonly requests = new Map<string, Request>();
  private readonly perCaller = new Map<string, number>();
  private readonly pace = new Pace();
  private readonly timers = new Map<string, NodeJS.Timeout>();
  /** The last that were answered, oldest first. */
  private readonly answered = new Set<string>();
  /** Handlers at work, with the time when their request was over before them. */
  private readonly working = new Map<Request, number | undefined>();
  private subscriptions: Subscription[] = [];
  private stopWatching: () => void = () => {};
  private idle: (() => void)[] = [];
  private turnedAt = performance.now();
  private turning: NodeJS.Timeout | undefined;
  served = 0;

  constructor(
    private readonly bus: Bus,
    private readonly options: ServerOptions,
  ) {}

  /** Starts to listen: as one of many to `any`, alone to its own name, and to `all`. */
  start(): void {
    const { owner, instance } = this.options;
    const listen = (name: string, queue?: string) =>
      this.bus.subscribe(subjects.serve(owner, name), (message) => this.receive(message), queue);
    this.subscriptions = [listen(ANY, owner), listen(instance), listen(ALL)];
    this.turnedAt = performance.now();
    this.turning = setInterval(() => {
      this.turnedAt = performance.now();
    }, TURN).unref();
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
    return this.perCaller.get(caller) ?? 0;
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
    clearInterval(this.turning);
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
    const refused = (code: string) => this.options.audit?.refused(caller, `${this.options.owner}.${call}`, id, code);
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
    const entry = syscall(owner, call);
    if (entry === undefined) throw new SomaError("ENOSYS", `${owner} has no call "${call}": see docs/syscalls.md`);
    const role = roleOf(caller);
    if (!MAY[entry.right].includes(role)) {
      throw new SomaError(
        "EPERM",
        `${owner}.${call} is for ${MAY[entry.right].join(", ")}, and "${caller}" is ${role}`,
      );
    }
    const abi = message.header(HEADERS.abi);
    if (abi !== "" && Number(abi) !== ABI) {
      throw new SomaError("EINVAL", `the caller speaks abi ${abi}, this system ${ABI}: use the same version of Soma`);
    }
    const control = (CONTROL as readonly string[]).includes(call);
    const mid = `${caller}/${id}`;
    // The same attempt again: it runs already and will be answered once, or was.
    if (!control && (this.requests.has(mid) || this.answered.has(mid))) return;
    const ttl = message.header(HEADERS.ttl) === "" ? Number.POSITIVE_INFINITY : Number(message.header(HEADERS.ttl));
    if (!control && !(ttl > 0)) throw new SomaError("ETIME", "the deadline had passed on arrival", { executed: "no" });
    // Before anything is decoded: turning away must cost next to nothing, or a flood stops all else.
    if (!control) this.admit(caller, role, call, ttl);
    const parsed = entry.input.safeParse(decode(message.data) ?? {});
    if (!parsed.success) throw new SomaError("EINVAL", `${owner}.${call}: ${issueText(parsed.error)}`);
    if (control) return this.control(caller, call, parsed.data as Control, send);
    if (!/^[\w-]{1,64}$/.test(id))
      throw new SomaError("EINVAL", 'header "id" must be 1 to 64 of A-Z, a-z, 0-9, "_", "-"');
    const principal = this.principal(message.header(HEADERS.for), caller, role, `${owner}.${call}`, parsed.data);
    const trace = this.options.tracer?.begin(message.header(HEADERS.traceparent));
    const request = new Request(
      {
        mid,
        id,
        key: message.header(HEADERS.key) || id,
        caller,
        principal,
        call,
        deadline: performance.now() + ttl,
        traceparent: trace?.traceparent ?? message.header(HEADERS.traceparent),
        trace,
        reply: message.reply,
      },
      send,
    );
    this.run(request, parsed.data);
  }

  private run(request: Request, input: unknown): void {
    request.noted = this.options.audit?.note(request.caller, request.principal, input);
    this.requests.set(request.mid, request);
    this.perCaller.set(request.caller, (this.perCaller.get(request.caller) ?? 0) + 1);
    this.pace.began(request.call, request.ttl);
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

  private principal(header: string, caller: string, role: string, name: string, input: unknown): Principal {
    if (header !== "") {
      if (role !== "service" && role !== "kernel") throw new SomaError("EPERM", `"${caller}" may not act for others`);
      const parsed = safeJson(header) as Principal | undefined;
      if (typeof parsed?.principal !== "string")
        throw new SomaError("EINVAL", 'header "for" must be {principal, grant?, revision?}');
      return parsed;
    }
    return role === "app" && this.options.authorize
      ? this.options.authorize(caller, name, input)
      : { principal: caller };
  }

  private admit(caller: string, role: string, call: string, ttl: number): void {
    const { mailbox = LIMITS.mailbox, mailboxPerCaller = LIMITS.mailboxPerCaller } = this.options;
    const outside = role !== "service" && role !== "kernel";
    // Whatever is offered, the beats and replies of what runs get their turn: a flood must not look like a hang.
    const behind = this.requests.size >= CROWD && performance.now() - this.turnedAt > TURN + BEHIND;
    const mine = this.runningOf(caller);
    const greedy = role === "app" && mine >= mailboxPerCaller;
    const late = outside && this.pace.late(call, ttl, mine, this.perCaller.size + (mine === 0 ? 1 : 0));
    if (this.requests.size >= mailbox || greedy || late || (outside && behind)) {
      throw new SomaError("EBUSY", `${this.options.owner} has its hands full: try again shortly`, {
        retryAfterMs: 100,
      });
    }
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
    if (!(error instanceof SomaError)) return this.options.crash(error);
    if (request.settled || !request.finish("error", error.toWire())) return;
    this.close(request, { code: error.code, ms: performance.now() - request.startedAt });
  }

  private close(request: Request, outcome: { code: string; ms: number; output?: unknown }): void {
    const { audit, owner } = this.options;
    if (!request.settled) audit?.outcome(request, `${owner}.${request.call}`, outcome.code, outcome.ms, outcome.output);
    clearTimeout(this.timers.get(request.mid));
    this.timers.delete(request.mid);
    this.requests.delete(request.mid);
    this.pace.ended(request.call, request.ttl, outcome.code === "OK");
    this.answered.add(request.mid);
    if (this.answered.size > REMEMBERED) this.answered.delete(this.answered.values().next().value!);
    if (this.working.has(request)) this.working.set(request, performance.now());
    const left = (this.perCaller.get(request.caller) ?? 1) - 1;
    if (left > 0) this.perCaller.set(request.caller, left);
    else this.perCaller.delete(request.caller);
    this.served += 1;
    this.options.observe?.(request, outcome);
    if (this.requests.size === 0) for (const wake of this.idle.splice(0)) wake();
  }

  private send(reply: string, type: string, body: unknown, seq?: number): void {
    const data = encode(body ?? {});
    // While the broker is away nothing could be delivered; the caller has made its own outcome of that.
    if (reply === "" || !this.bus.connected) return;
    this.bus.publish(reply, data, {
      [HEADERS.type]: type,
      [HEADERS.epoch]: String(this.options.epoch),
      ...(seq === undefined ? {} : { [HEADERS.seq]: String(seq) }),
    });
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

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
