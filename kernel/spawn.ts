// Owns apps that run: a fresh identity for each, its process, its output to whoever spawned it, its end.
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { SomaError } from "./abi/errors.ts";
import type { Chunk, Input, Output } from "./abi/syscalls.ts";
import type { Announcer } from "./announce.ts";
import { findApp } from "./apps.ts";
import type { Exit } from "./child.ts";
import { bundleApp, confinement } from "./confine.ts";
import type { Hands } from "./hands.ts";
import type { Client } from "./ipc/client.ts";
import type { Log } from "./ipc/log.ts";
import { createKey } from "./ipc/nkey.ts";
import type { Request } from "./ipc/request.ts";
import type { ChildInfo } from "./launcher/protocol.ts";
import type { AppRecord, Records } from "./records.ts";

/** Of an ending that was asked for: INT, then TERM, then KILL, so many ms apart. */
const PATIENCE = 2_000;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGKILL"] as const;

type SpawnInput = Input<"kernel.spawn"> & { args: string[]; detached: boolean; interactive: boolean };

export interface AppsOptions {
  hands: Hands;
  client: Client;
  records: Records;
  announcer: Announcer;
  log: Log;
  url: () => string;
  /** Where apps are looked up by name. */
  root: string;
  /** Where what runs of them lies meanwhile. */
  programs: string;
}

interface Running extends AppRecord {
  pid?: number;
  /** Absent when a former kernel spawned it, or it is detached: nobody reads its output. */
  output?: (chunk: Chunk<"kernel.spawn">) => void;
  /** Resolves once it has a pid, or will never have one. */
  begun: Promise<void>;
  began: () => void;
  ended: (exit: Exit) => void;
}

export class Apps {
  private readonly running = new Map<string, Running>();

  constructor(private readonly options: AppsOptions) {}

  /** Holder name -> what is known of it. */
  all(): [string, AppRecord & { pid?: number }][] {
    return [...this.running];
  }

  has(holder: string): boolean {
    return this.running.has(holder);
  }

  /** Runs an app until it ends, or, detached, until it has started. */
  async spawn(input: SpawnInput, request: Request): Promise<Output<"kernel.spawn">> {
    const { hands, client, records, url, root, announcer } = this.options;
    const app = findApp(root, input.app);
    const holder = `${app.name}-${randomBytes(2).toString("hex")}`;
    const program = this.program(holder);
    const nodeOptions = confinement(dirname(app.entry), program, app.packages);
    await bundleApp(app.entry, program);
    const key = createKey("user");
    const admission = { app: app.name, holder, publicKey: key.publicKey };
    const { jwt } = await client
      .call("auth.admit", admission, { for: request.principal, signal: request.signal })
      .catch((error: unknown) => {
        rmSync(program, { force: true });
        throw error;
      });
    const { detached } = input;
    const record = { app: app.name, owner: request.caller, detached, startedAt: Date.now() };
    const output = detached ? {} : { output: this.relay(holder, request) };
    const exited = new Promise<Exit>((ended) => this.running.set(holder, { ...record, ...start(), ...output, ended }));
    // Written before it runs, so that a successor finds its name among what the launcher lists.
    await records.put("app", holder, record);
    if (request.signal.aborted) return this.cancelled(holder);
    hands.start({
      id: holder,
      entry: program,
      nodeOptions,
      args: input.args,
      env: environment(input, { url: url(), name: holder, jwt, seed: key.seed }),
      memoryMb: app.memoryMb,
      ...(detached ? { log: app.name } : { relay: true, interactive: input.interactive }),
    });
    announcer.life("spawned", { holder, ...record });
    if (detached) {
      await this.running.get(holder)?.begun;
      return { id: holder, code: null, signal: null };
    }
    request.signal.addEventListener("abort", () => void this.end(holder, SIGNALS));
    if (input.interactive) void this.feed(holder, request);
    const { code, signal, lines } = await exited;
    if (code === null && signal === null)
      throw new SomaError("EIO", `${app.name} could not be started: ${lines.join(" ")}`);
    return { id: holder, code, signal };
  }

  started(holder: string, pid: number): void {
    const app = this.running.get(holder);
    if (app === undefined) return;
    app.pid = pid;
    app.began();
  }

  output(holder: string, chunk: Chunk<"kernel.spawn">): void {
    this.running.get(holder)?.output?.(chunk);
  }

  exited(holder: string, exit: Exit): void {
    const app = this.running.get(holder);
    if (app === undefined) return;
    this.running.delete(holder);
    this.options.announcer.life("ended", { holder, app: app.app, code: exit.code, signal: exit.signal });
    app.began();
    app.ended(exit);
    void this.release(holder);
  }

  /** A former kernel spawned it: it goes on, and nobody reads its output any more. */
  async adopt({ id, pid }: ChildInfo): Promise<void> {
    const record = this.options.records.get("app", id);
    if (record === undefined) {
      this.options.log.warn({ id, pid }, "an unknown child runs: ending it");
      return this.options.hands.kill(id, "SIGKILL");
    }
    const app = { ...record, ...start(), pid, ended: () => {} };
    app.began();
    this.running.set(id, app);
    // The former kernel may have held it back for a reader that is gone.
    this.options.hands.flow(id, true);
  }

  /** Clears up after apps that ended while no kernel was there. */
  async forget(runs: (holder: string) => boolean): Promise<void> {
    for (const [holder] of this.options.records.all("app")) if (!runs(holder)) void this.release(holder);
  }

  /** Asks, ever more firmly, until it has ended. */
  async end(holder: string, signals: readonly NodeJS.Signals[] = ["SIGTERM", "SIGKILL"]): Promise<void> {
    await this.running.get(holder)?.begun;
    for (const signal of signals) {
      if (!this.running.has(holder)) return;
      this.options.hands.kill(holder, signal);
      await new Promise((resolve) => setTimeout(resolve, PATIENCE).unref());
    }
  }

  endAll(): void {
    for (const holder of this.running.keys()) void this.end(holder);
  }

  /** Takes back its grant, which dies with the process: one that has its secret must not go on with it. */
  private async release(holder: string): Promise<void> {
    const { client, records, log } = this.options;
    rmSync(this.program(holder), { force: true });
    try {
      await client.call("auth.revoke", { holder }, { ttl: 30_000 });
      await records.del("app", holder);
    } catch (error) {
      // The record stays: the next kernel tries again.
      log.warn({ err: error, holder }, "the grant of an ended app could not be taken back yet");
    }
  }

  private program(holder: string): string {
    return join(this.options.programs, `${holder}.mjs`);
  }

  private cancelled(holder: string): never {
    this.running.get(holder)?.began();
    this.running.delete(holder);
    void this.release(holder);
    throw new SomaError("ECANCELED", "canceled before it started", { executed: "no" });
  }

  /** Chunks in order. A reader that lags has the launcher stop reading: the app blocks on its own output. */
  private relay(holder: string, request: Request): (chunk: Chunk<"kernel.spawn">) => void {
    let paused = false;
    return (chunk) => {
      const room = request.emit(chunk);
      if (!request.congested || paused) return;
      paused = true;
      this.options.hands.flow(holder, false);
      void room.then(() => {
        paused = false;
        if (this.running.has(holder)) this.options.hands.flow(holder, true);
      });
    };
  }

  /** What the caller types, until it ends it or the request is over. */
  private async feed(holder: string, request: Request): Promise<void> {
    try {
      for await (const piece of request.received())
        this.options.hands.input(holder, (piece as { data: Uint8Array }).data);
      this.options.hands.input(holder, undefined);
    } catch (error) {
      if (!(error instanceof SomaError)) throw error;
    }
  }
}

function start(): Pick<Running, "begun" | "began"> {
  let began = () => {};
  const begun = new Promise<void>((resolve) => (began = resolve));
  return { begun, began };
}

/** What an app sees of the world, besides what it needs to run at all. */
function environment({ columns, color }: SpawnInput, credentials: object): Record<string, string> {
  return {
    SOMA_CREDS: JSON.stringify(credentials),
    ...(columns === undefined ? {} : { COLUMNS: String(columns) }),
    ...(color === undefined ? {} : color ? { FORCE_COLOR: "1" } : { NO_COLOR: "1" }),
  };
}
