// Owns simulated time: a queue of tasks, each of one process, run one at a time; and, while a seed runs, every clock, timer and
// random source of this program, so that the product's own code sees no other.
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import timers from "node:timers/promises";
import type { Random } from "./random.ts";

/** Whose code a task is: it is not run while its owner is paused, and never after its death. */
export interface Owner {
  readonly id: string;
  dead: boolean;
  paused: boolean;
  /** What came while it was paused. */
  held: Task[];
}

export interface Task {
  at: number;
  seq: number;
  owner: Owner | null;
  label: string;
  run: () => void;
  canceled: boolean;
}

/** Unix ms at the start of each run: simulated time begins there. */
const EPOCH = 1_700_000_000_000;

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  random: Math.random,
  now: Date.now,
  randomBytes: crypto.randomBytes,
  sleep: timers.setTimeout,
  breathe: timers.setImmediate,
  performanceNow: performance.now,
};

export class Clock {
  /** ms since the start of the run. */
  now = 0;
  /** Tasks that were run. */
  events = 0;
  /** Process -> tasks that were run of it. */
  readonly ran = new Map<string, number>();
  /** Of all that was run, in order: equal for equal runs. */
  hash = 0x811c9dc5;
  /** Whose code runs; null for the world's own. */
  current: Owner | null = null;
  trace: ((line: string) => void) | undefined;
  private readonly heap: Task[] = [];
  private seq = 0;

  constructor(private readonly random: Random) {}

  /** Adds to the run's hash, and to its trace. */
  note(text: string): void {
    for (let i = 0; i < text.length; i++) this.hash = Math.imul(this.hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
    this.trace?.(`${this.now.toFixed(1).padStart(9)} ${text}`);
  }

  after(ms: number, label: string, run: () => void, owner: Owner | null = this.current): Task {
    const at = this.now + Math.max(0, ms);
    const task = { at, seq: this.seq++, owner, label, run, canceled: false };
    this.push(task);
    return task;
  }

  /** Runs what comes next; false when nothing is left. The microtasks that it caused belong to it. */
  async step(): Promise<boolean> {
    const task = this.pop();
    if (task === undefined) return false;
    const { owner } = task;
    if (task.canceled || owner?.dead) return true;
    if (owner?.paused) {
      owner.held.push(task);
      return true;
    }
    this.now = Math.max(this.now, task.at);
    this.events += 1;
    if (owner !== null) this.ran.set(owner.id, (this.ran.get(owner.id) ?? 0) + 1);
    this.note(`${owner?.id ?? "-"} ${task.label} ${task.at.toFixed(3)}`);
    this.current = owner;
    task.run();
    await new Promise((resolve) => real.setImmediate(resolve));
    this.current = null;
    return true;
  }

  get next(): number | undefined {
    return this.heap[0]?.at;
  }

  /** Lets a paused owner go on: what came meanwhile comes now, in its order. */
  resume(owner: Owner): void {
    owner.paused = false;
    for (const task of owner.held.splice(0)) if (!task.canceled) this.push({ ...task, seq: this.seq++ }, task);
  }

  /** Puts this clock and its random source in place of the program's, until the returned function is called. */
  install(): () => void {
    const timer = (ms: number, label: string, run: () => void, every?: number) =>
      new Timer(this, ms, label, run, every);
    const cancel = (given: unknown) => void (given instanceof Timer && given.cancel());
    Object.assign(globalThis, {
      setTimeout: (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
        timer(ms, "timeout", () => run(...args)),
      setInterval: (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
        timer(ms, "interval", () => run(...args), Math.max(1, ms)),
      setImmediate: (run: (...args: unknown[]) => void, ...args: unknown[]) =>
        timer(0, "immediate", () => run(...args)),
      clearTimeout: cancel,
      clearInterval: cancel,
      clearImmediate: cancel,
    });
    const sleep = <T>(ms = 0, value?: T) => new Promise((resolve) => timer(ms, "sleep", () => resolve(value)));
    Object.assign(timers, { setTimeout: sleep, setImmediate: <T>(value?: T) => sleep(0, value) });
    // By time alone: a library that draws when its cache is full must not shift what others draw.
    Math.random = () => this.random.at(this.events);
    Date.now = () => EPOCH + Math.floor(this.now);
    performance.now = () => this.now;
    (crypto as { randomBytes: unknown }).randomBytes = (size: number) =>
      Buffer.from(Array.from({ length: size }, () => this.random.whole(0, 255)));
    syncBuiltinESMExports();
    return restore;
  }

  private push(task: Task, replaced?: Task): void {
    // A timer that was held can still be canceled through the handle that its owner has.
    if (replaced !== undefined)
      Object.defineProperty(task, "canceled", {
        get: () => replaced.canceled,
        set: (value) => (replaced.canceled = value),
      });
    const { heap } = this;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(heap[at]!, heap[parent]!)) break;
      [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
      at = parent;
    }
  }

  private pop(): Task | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      if (least === at) return first;
      [heap[at], heap[least]] = [heap[least]!, heap[at]!];
      at = least;
    }
  }
}

function before(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.seq < b.seq);
}

function restore(): void {
  const { random, now, randomBytes, performanceNow, sleep, breathe, ...global } = real;
  Object.assign(globalThis, global);
  Object.assign(timers, { setTimeout: sleep, setImmediate: breathe });
  Math.random = random;
  Date.now = now;
  performance.now = performanceNow;
  (crypto as { randomBytes: unknown }).randomBytes = randomBytes;
  syncBuiltinESMExports();
}

/** What setTimeout and its like give back. */
class Timer {
  private task: Task;

  constructor(clock: Clock, ms: number, label: string, run: () => void, every: number | undefined) {
    const owner = clock.current;
    const fire = (): void => {
      if (every !== undefined) this.task = clock.after(every, label, fire, owner);
      run();
    };
    this.task = clock.after(ms, label, fire, owner);
  }

  cancel(): void {
    this.task.canceled = true;
  }
  unref(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
  refresh(): this {
    throw new Error("refresh is not simulated");
  }
}
