// Owns the table of forked children: starts, signals, logs and reports them. They are the launcher's, not the kernel's.
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { NAME } from "../abi/limits.ts";
import { LogFile } from "./log.ts";
import { signal, spawnNode } from "./node.ts";
import type { ChildInfo, Report, StartOrder } from "./protocol.ts";
import type { TetherKind } from "./tether.ts";

/** An exit is reported when the child's output has ended, or this long after it: a grandchild may hold the pipe. */
const OUTPUT_MS = 50;

export interface ChildrenOptions {
  /** Directory of the log files. */
  log: string;
  tether: TetherKind;
  report: (report: Report) => void;
  /** Hears what concerns the person at the console. */
  say: (line: string) => void;
  /** Hears what the children print. */
  echo?: (id: string, chunk: Buffer) => void;
}

interface Child extends ChildInfo {
  process: ChildProcess;
  gone: Promise<void>;
}

export class Children {
  #children = new Map<string, Child>();

  constructor(private readonly options: ChildrenOptions) {}

  /** Starts a child, with an IPC channel if `receive` is given. Undefined, and a `refused` report, if the id is bad or taken. */
  start(order: StartOrder, receive?: (message: unknown) => void): ChildProcess | undefined {
    const { id } = order;
    const { report, tether } = this.options;
    const refuse = (reason: string) => report({ type: "refused", order: "start", id, reason });
    if (!NAME.test(id)) return void refuse("the id must be 1 to 32 of a-z, 0-9 and -");
    if (this.#children.has(id)) return void refuse(`${id} runs already: kill it first or choose another id`);
    const child = spawnNode(tether, order, receive !== undefined);
    const gone = this.#watch(order, child);
    if (receive) child.on("message", receive);
    if (child.pid === undefined) return child;
    this.#children.set(id, { id, pid: child.pid, startedAt: Date.now(), process: child, gone });
    report({ type: "started", id, pid: child.pid });
    return child;
  }

  /** Sends a signal; KILL to the child's whole group. */
  kill(id: string, name: NodeJS.Signals): void {
    const child = this.#children.get(id);
    if (!child) return this.options.report({ type: "refused", order: "kill", id, reason: `${id} does not run` });
    signal(child.pid, name, name === "SIGKILL");
  }

  /** What it reads; undefined ends its input. Nothing happens if it has ended meanwhile. */
  input(id: string, data: Buffer | undefined): void {
    const stdin = this.#children.get(id)?.process.stdin;
    if (data === undefined) stdin?.end();
    else stdin?.write(data);
  }

  /** Reads its output on, or not. */
  flow(id: string, on: boolean): void {
    const child = this.#children.get(id)?.process;
    for (const output of [child?.stdout, child?.stderr]) output?.[on ? "resume" : "pause"]();
  }

  list(): ChildInfo[] {
    return Array.from(this.#children.values(), ({ id, pid, startedAt }) => ({ id, pid, startedAt }));
  }

  /** Asks everyone to end, kills after `graceMs` who still runs, and resolves when all are gone and reported. */
  async end(graceMs: number): Promise<void> {
    const all = [...this.#children.values()];
    if (graceMs > 0) {
      for (const { pid } of all) signal(pid, "SIGTERM", false);
      await Promise.race([Promise.all(all.map(({ gone }) => gone)), sleep(graceMs, undefined, { ref: false })]);
    }
    for (const { id, pid } of all) if (this.#children.has(id)) signal(pid, "SIGKILL", true);
    await Promise.all(all.map(({ gone }) => gone));
  }

  /** Keeps the child's output and resolves after its end has been reported. */
  #watch({ id, relay, log: name = id }: StartOrder, child: ChildProcess): Promise<void> {
    // What a person reads as it comes is theirs alone: nothing of it stays on disk.
    const log = new LogFile(relay ? undefined : this.options.log, name, this.options.say);
    for (const fd of [1, 2] as const) {
      child.stdio[fd]?.on("data", (chunk: Buffer) => {
        log.write(chunk);
        this.options.echo?.(id, chunk);
        if (relay) this.options.report({ type: "output", id, fd, data: chunk.toString("base64") });
      });
    }
    return new Promise((resolve) => {
      const report = (code: number | null, signal: NodeJS.Signals | null) => {
        this.#children.delete(id);
        this.options.report({ type: "exited", id, pid: child.pid ?? 0, code, signal, lines: log.lines() });
        log.close();
        resolve();
      };
      child.once("error", (error) => {
        // Also raised when a message or signal could not be delivered: then the exit is still to come.
        if (child.pid !== undefined) return this.options.say(`${id}: ${error.message}`);
        log.write(Buffer.from(`${error.message}\n`));
        report(null, null);
      });
      child.once("exit", async (code, name) => {
        signal(child.pid!, "SIGKILL", true); // Whom it has started and left behind.
        const closed = new Promise((done) => child.once("close", done));
        for (const output of [child.stdout, child.stderr]) output?.resume();
        await Promise.race([closed, sleep(OUTPUT_MS)]);
        for (const output of [child.stdout, child.stderr]) output?.destroy();
        report(code, name);
      });
    });
  }
}
