// Owns one simulated machine: its clock, broker, store and processes, the launcher that forks and kills them, and what it must obey.
import { LIMITS } from "../../kernel/abi/limits.ts";
import { syscall } from "../../kernel/abi/syscalls.ts";
import type { Supervision } from "../../kernel/effects.ts";
import type { KeyPair } from "../../kernel/ipc/nkey.ts";
import { type Order, type Report, SHUTDOWN_MS } from "../../kernel/launcher/protocol.ts";
import type { Ledger } from "../../services/auth/ledger.ts";
import type { Registrar } from "../../services/auth/registrar.ts";
import type { Resident } from "../../services/device/resident.ts";
import type { Budgets } from "../../services/memory/budget.ts";
import type { Board } from "../../services/scheduler/board.ts";
import { Broker, type SimBus, type Token } from "./broker.ts";
import { Clock, type Owner, type Task } from "./clock.ts";
import { SimFiles } from "./driver.ts";
import type { Invariant } from "./invariants.ts";
import { keyOf } from "./keys.ts";
import { Random } from "./random.ts";
import { Store } from "./store.ts";

export class Process implements Owner {
  dead = false;
  paused = false;
  held: Task[] = [];
  /** What TERM does. */
  onTerm: () => void = () => {};

  constructor(
    readonly id: string,
    readonly pid: number,
    readonly startedAt: number,
    readonly env: Record<string, string>,
  ) {}
}

/** Programs by the name of their instance's service, and the kernel. */
export type Program = (world: World, process: Process) => Promise<void>;

/** Thrown to end the process that runs. */
export class Exit extends Error {
  constructor(readonly code: number) {
    super(`exit ${code}`);
  }
}

export interface Life {
  at: number;
  what: "start" | "end" | "term" | "kill";
  id: string;
  /** Which kernel knows of it: the last that had asked which children there were. */
  kernel: number;
}

export class World {
  readonly random: Random;
  readonly clock: Clock;
  readonly broker: Broker;
  readonly store: Store;
  /** Kind of fault -> how often it struck. */
  readonly struck = new Map<string, number>();
  /** Invariant -> how often it was looked at. */
  readonly checked = new Map<Invariant, number>();
  readonly violations: string[] = [];
  readonly processes = new Map<string, Process>();
  readonly lives: Life[] = [];
  /** Instance -> newest epoch that was given out. */
  readonly epochs = new Map<string, number>();
  /** Void keys, on the kernel's disk. */
  readonly revoked = new Set<string>();
  /** Probability that a write's acknowledgement is lost. */
  flaky = 0;
  kernel: Process | undefined;
  /** How many kernels there were. */
  kernels = 0;
  /** The last kernel that took up its work: what happened to children before that, it knows nothing of. */
  private supervising = 0;
  /** What the launcher exits with: 0 only when the kernel has ended everything in order. */
  stopped: number | undefined;
  // What runs, for the checks: of the newest instances.
  supervision: Supervision | undefined;
  board: Board | undefined;
  budgets: Budgets | undefined;
  /** Grant -> what of its budgets is set aside. */
  readonly aside = new Map<string, number>();
  readonly devices = new Map<string, ReadonlyMap<string, Resident>>();
  /** The disk of the host on which the devices are. */
  readonly files = new SimFiles();
  /** Throws that came out of product code. */
  bugs = 0;
  private punished = { at: Number.NEGATIVE_INFINITY, kernel: 0 };
  private readonly asked: { id: string; at: number }[] = [];
  /** Call and key of what may not be done twice -> how often it was begun. */
  private readonly begun = new Map<string, number>();
  private pids = 50_000_000;
  private keys = 0;
  private tellKernel: ((message: unknown) => void) | undefined;
  /** Reports to a kernel that does not listen yet: Node keeps them for it. */
  private early: Report[] = [];
  private interrupted = false;

  constructor(
    readonly seed: number,
    private readonly programs: Record<string, Program>,
  ) {
    this.random = new Random(seed);
    this.clock = new Clock(this.random);
    const strike = (kind: string) => this.strike(kind);
    this.broker = new Broker(this.clock, this.random, strike, (bus, subject, carried) =>
      this.late(bus, carried, subject),
    );
    this.store = new Store(
      this.broker,
      strike,
      (bus, bucket) => this.written(bus, bucket),
      (bus) => this.late(bus, false, "a bucket"),
      () => this.flaky,
    );
  }

  strike(kind: string): void {
    this.struck.set(kind, (this.struck.get(kind) ?? 0) + 1);
    this.clock.note(`fault ${kind}`);
  }

  /** Looks at an invariant: counted, and written down when it does not hold. */
  check(invariant: Invariant, holds: boolean, what: () => string): void {
    this.checked.set(invariant, (this.checked.get(invariant) ?? 0) + 1);
    if (holds) return;
    const line = `${invariant}: ${what()} (at ${this.clock.now.toFixed(1)} ms)`;
    this.violations.push(line);
    this.clock.trace?.(`VIOLATION ${line}`);
  }

  /** A throw that no product code may let out. */
  bug(error: unknown): void {
    this.bugs += 1;
    const who = this.clock.current?.id ?? "the world";
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.check("no actor has a bug", false, () => `${who}: ${text}`);
  }

  /** A key that nobody has in this run. */
  key(): KeyPair {
    return keyOf(this.keys++);
  }

  connect(owner: Owner, token: Token): SimBus {
    return this.broker.connect(owner, token);
  }

  /** What comes of one whose successor has registered is refused, by the broker and by the stores behind it. */
  private late(bus: SimBus, carried: boolean, where: string): void {
    const { name, epoch } = bus.token as Token & { epoch?: number };
    if (epoch === undefined || epoch >= (this.epochs.get(name) ?? 0)) return;
    this.check("late writes are refused", !carried, () => `${name} of epoch ${epoch} wrote to ${where}`);
  }

  /** Nothing is written in an epoch that is over. */
  private written(bus: SimBus, bucket: string): void {
    this.late(bus, true, bucket);
    const { name, epoch } = bus.token as Token & { epoch?: number };
    if (epoch === undefined) return;
    const newest = name === "kernel" ? this.kernels : (this.epochs.get(name) ?? 0);
    this.check(
      "no stale epoch writes",
      epoch >= newest,
      () => `${name} wrote ${bucket} in epoch ${epoch}, and ${newest} has begun`,
    );
  }

  /** Handlers that count what may be done once only. */
  watched<H extends Record<string, (input: any, request: any) => unknown>>(owner: string, handlers: H): H {
    const counted = Object.entries(handlers).map(([call, handler]) => {
      if (syscall(owner, call)?.idempotent ?? true) return [call, handler];
      const once = (input: unknown, request: { caller: string; key: string }) => {
        const key = `${owner}.${call} ${request.caller} ${request.key}`;
        const times = (this.begun.get(key) ?? 0) + 1;
        this.begun.set(key, times);
        this.check("no effect is made twice", times === 1, () => `${key}: begun ${times} times`);
        return handler(input, request);
      };
      return [call, once];
    });
    return Object.fromEntries(counted) as H;
  }

  /** Somebody asked the kernel to restart it: such a start is forgiven. */
  requested(service: string): void {
    this.asked.push({ id: `${service}-1`, at: this.clock.now });
  }

  requests(id: string, from: number, to: number): number {
    return this.asked.filter((one) => one.id === id && one.at >= from && one.at <= to).length;
  }

  /** Looks at all budgets. */
  ledgers(registrar: Registrar, ledger: Ledger): void {
    this.aside.clear();
    for (const grant of registrar.all()) {
      const limits = registrar.limits(grant);
      const limit = limits.tokens?.amount;
      if (limit === undefined) continue;
      const { tokens } = ledger.used(grant.id, limits);
      this.aside.set(
        grant.id,
        ledger.rows(grant.id, limits).reduce((sum, { leased }) => sum + leased, 0),
      );
      this.check("no budget is overdrawn", tokens <= limit, () => `${grant.holder}: ${tokens} of ${limit} tokens`);
    }
  }

  /** The kernel has one killed: for a hang, if it was ready before. */
  private checkKill(id: string): void {
    const state = this.supervision?.children.get(id)?.getSnapshot().value;
    if (state !== "ready" && state !== "suspect") return;
    const { now } = this.clock;
    this.check("nobody is killed while the broker is away", this.broker.up, () => `${id} was ${state}`);
    const { at, kernel } = this.punished;
    const apart = kernel === this.kernels ? now - at : Number.POSITIVE_INFINITY;
    this.check(
      "one hang at a time is punished",
      apart >= LIMITS.deadAfter - 1,
      () => `${id}, ${apart} ms after another`,
    );
    this.punished = { at: now, kernel: this.kernels };
  }

  // The launcher.

  startKernel(): void {
    if (this.stopped !== undefined) return;
    // Of the former one nothing is asked any more.
    this.supervision = undefined;
    this.kernel = this.fork("kernel", {});
  }

  fork(id: string, env: Record<string, string>): Process {
    const process = new Process(id, this.pids++, Date.now(), env);
    this.processes.set(id, process);
    this.lives.push({ at: this.clock.now, what: "start", id, kernel: this.supervising });
    const program = this.programs[id.replace(/-\d+$/, "")]!;
    this.clock.after(
      this.random.between(20, 120),
      "main",
      () =>
        void program(this, process).catch((error) => {
          if (!(error instanceof Exit)) this.bug(error);
          this.end(process, error instanceof Exit ? error.code : 70, null);
        }),
      process,
    );
    return process;
  }

  /** A process ends by itself, or is killed. */
  end(process: Process, code: number | null, signal: NodeJS.Signals | null): void {
    if (process.dead) return;
    process.dead = true;
    process.held = [];
    this.clock.note(`${process.id} ends ${code} ${signal}`);
    for (const bus of this.broker.of(process)) this.broker.forget(bus);
    // A ghost was given up long ago.
    if (this.processes.get(process.id) !== process) return;
    this.lives.push({ at: this.clock.now, what: "end", id: process.id, kernel: this.supervising });
    if (process === this.kernel) {
      this.processes.delete(process.id);
      this.kernel = undefined;
      this.tellKernel = undefined;
      this.early = [];
      if (this.interrupted) return this.endAll(1);
      this.clock.after(this.random.between(5, 400), "kernel again", () => this.startKernel(), null);
      return;
    }
    const { id, pid } = process;
    this.clock.after(
      this.random.between(1, 10),
      "exited",
      // Until the launcher has seen it, it is among its children.
      () => {
        this.processes.delete(id);
        this.report({ type: "exited", id, pid, code, signal, lines: [] });
      },
      null,
    );
  }

  kill(process: Process): void {
    this.end(process, null, "SIGKILL");
  }

  /** It stands still, is taken for dead, and wakes up `ms` later: as on a machine that was cut off. */
  ghost(process: Process, ms: number): void {
    process.paused = true;
    const { id, pid } = process;
    this.processes.delete(id);
    this.lives.push({ at: this.clock.now, what: "end", id, kernel: this.supervising });
    this.report({ type: "exited", id, pid, code: null, signal: "SIGKILL", lines: [] });
    this.clock.after(ms, "ghost", () => process.dead || this.clock.resume(process), null);
  }

  pause(process: Process, ms: number): void {
    if (process.paused) return;
    process.paused = true;
    this.clock.note(`${process.id} paused for ${ms.toFixed(1)}`);
    // The launcher ends a kernel that hangs.
    if (process === this.kernel && ms > 5_000)
      this.clock.after(5_000, "hang", () => process.paused && this.kill(process), null);
    this.clock.after(
      ms,
      "go on",
      () => {
        if (!process.dead) this.clock.resume(process);
      },
      null,
    );
  }

  /** The IPC channel of the present kernel. */
  channel(kernel: Process) {
    // A pipe keeps its order, in each direction.
    let [down, up] = [0, 0];
    const soon = (last: number) => Math.max(last, this.clock.now + this.random.between(0.05, 1));
    return {
      send: (message: unknown): boolean => {
        down = soon(down);
        this.clock.after(down - this.clock.now, "order", () => this.order(message as Order), null);
        return true;
      },
      on: (_event: "message", listener: (message: unknown) => void) => {
        this.tellKernel = (message) => {
          up = soon(up);
          this.clock.after(up - this.clock.now, "report", () => listener(message), kernel);
        };
        for (const report of this.early.splice(0)) this.tellKernel(report);
      },
    };
  }

  private report(report: Report): void {
    if (this.tellKernel) this.tellKernel(report);
    else if (this.kernel) this.early.push(report);
  }

  /** An ordered end, by the rules of kernel/launcher/launch.ts. */
  interrupt(): void {
    this.interrupted = true;
    if (this.kernel === undefined) return this.endAll(0);
    this.report({ type: "shutdown" });
    this.clock.after(SHUTDOWN_MS, "too late", () => this.endAll(1), null);
  }

  private endAll(code: number): void {
    if (this.stopped !== undefined) return;
    this.stopped = code;
    for (const process of [...this.processes.values()]) this.kill(process);
  }

  private order(order: Order): void {
    this.clock.note(`order ${order.type} ${"id" in order ? order.id : ""}`);
    if (order.type === "list") {
      this.supervising = this.kernels;
      const children = [...this.processes.values()].filter(({ id }) => id !== "kernel");
      this.report({ type: "children", children: children.map(({ id, pid, startedAt }) => ({ id, pid, startedAt })) });
    } else if (order.type === "start") {
      const running = this.processes.get(order.id);
      this.check("nothing is started twice", running === undefined, () => `${order.id} runs as ${running?.pid}`);
      if (running !== undefined)
        return this.report({ type: "refused", order: "start", id: order.id, reason: `${order.id} runs already` });
      const { id, pid } = this.fork(order.id, order.env ?? {});
      this.report({ type: "started", id, pid });
    } else if (order.type === "kill") {
      const process = this.processes.get(order.id);
      if (process === undefined || process.dead) return;
      const what = order.signal === "SIGKILL" ? "kill" : "term";
      this.lives.push({ at: this.clock.now, what, id: order.id, kernel: this.supervising });
      if (what === "kill") {
        this.checkKill(order.id);
        this.kill(process);
      } else this.clock.after(0, "TERM", () => process.onTerm(), process);
    } else if (order.type === "stop") {
      this.endAll(order.code);
    }
  }
}
