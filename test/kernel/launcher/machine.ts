// Owns real launchers for tests: started from elsewhere, with the test's kernel, and cleared away whatever happens.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect as connectNats } from "nats";
import * as assert from "uvu/assert";
import { STORAGE } from "../../../kernel/broker/config.ts";
import { authenticator } from "../../../kernel/ipc/jwt.ts";
import { Authority } from "../../../kernel/keys/authority.ts";
import { startOf } from "../../../kernel/launcher/lock.ts";
import type { Order, Report } from "../../../kernel/launcher/protocol.ts";
import { natsServer, withDirectory, within } from "../broker/harness.ts";

const MAIN = fileURLToPath(new URL("../../../kernel/launcher/main.ts", import.meta.url));
export const KERNEL = fileURLToPath(new URL("./kernel.ts", import.meta.url));
const TSX = import.meta.resolve("tsx");
export const CHILD = "test/kernel/launcher/child.ts";

type Message = Report | { type: "hello"; pid: number };
type Of<T extends Message["type"]> = Extract<Message, { type: T }>;

/** A real launcher with a real broker and the test's kernel; run from another directory than the repository's. */
export class Machine {
  readonly process: ChildProcess;
  readonly exit: Promise<[number | null, NodeJS.Signals | null]>;
  text = "";

  constructor(
    readonly home: string,
    entry = KERNEL,
    env: Record<string, string> = {},
  ) {
    const { NATS_URL: _, ...rest } = process.env;
    this.process = spawn(process.execPath, ["--import", TSX, MAIN, entry], {
      cwd: tmpdir(),
      env: { ...rest, SOMA_HOME: home, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    for (const output of [this.process.stdout!, this.process.stderr!])
      output.on("data", (chunk) => (this.text += chunk));
    this.exit = once(this.process, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  }

  /** Talks with the kernel that runs now, or as soon as one does. */
  async kernel(): Promise<Kernel> {
    for (;;) {
      const socket = connect(join(this.home, "run", "test.sock"));
      try {
        await once(socket, "connect");
        const kernel = new Kernel(socket);
        await kernel.next("hello");
        return kernel;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20)); // Not there yet, or an old socket's file.
      }
      assert.is(this.process.exitCode, null, this.text);
    }
  }
}

export class Kernel {
  pid = 0;
  #messages: Message[] = [];
  #wake: () => void = () => undefined;
  #closed = false;

  constructor(private readonly socket: Socket) {
    let text = "";
    socket.on("data", (chunk) => {
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) this.#messages.push(JSON.parse(line));
      this.#wake();
    });
    socket
      .on("error", () => undefined)
      .on("close", () => {
        this.#closed = true;
        this.#wake();
      });
  }

  order(order: Order): void {
    this.socket.write(`${JSON.stringify(order)}\n`);
  }

  async next<T extends Message["type"]>(type: T): Promise<Of<T>> {
    for (;;) {
      const at = this.#messages.findIndex((message) => message.type === type);
      const message = at < 0 ? undefined : this.#messages.splice(at, 1)[0]!;
      if (message?.type === "hello") this.pid = message.pid;
      if (message) return message as Of<T>;
      if (this.#closed) throw new Error(`the kernel is gone before it heard ${type}`);
      await within(`the report ${type}`, new Promise<void>((resolve) => (this.#wake = resolve)));
    }
  }
}

/** Waits until none of them runs; fails after 15 s, which is far more than any of our graces. */
export async function gone(pids: number[]): Promise<void> {
  const end = performance.now() + 15_000;
  for (let left = pids; (left = left.filter((pid) => startOf(pid) !== undefined)).length > 0; ) {
    assert.ok(performance.now() < end, `processes ${left} do not end`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Pids of all processes that belong to this home, by their environment or arguments (Linux). */
export function processesOf(home: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && startOf(pid) !== undefined)
    .filter((pid) => {
      try {
        return ["environ", "cmdline"].some((file) => readFileSync(`/proc/${pid}/${file}`).includes(home));
      } catch {
        return false; // Gone, or not ours to read.
      }
    });
}

export async function withMachine(
  work: (machine: Machine) => Promise<void>,
  entry?: string,
  env?: Record<string, string>,
): Promise<void> {
  await natsServer();
  await withDirectory(async (directory) => {
    const machine = new Machine(directory, entry, env);
    try {
      await work(machine);
    } finally {
      machine.process.kill("SIGKILL");
      await machine.exit;
      await gone(processesOf(directory));
    }
  });
}

export const start = (id: string, mode: string): Order => ({ type: "start", id, entry: CHILD, args: [mode], env: {} });

/** Throws unless a system user gets in: the broker runs and trusts this home's keys. */
export async function checkBroker(home: string, url: string): Promise<void> {
  const system = new Authority(join(home, "keys"), { storage: STORAGE }).systemUser();
  const connection = await connectNats({ servers: url, authenticator: authenticator(system.jwt, system.key) });
  await connection.close();
}
