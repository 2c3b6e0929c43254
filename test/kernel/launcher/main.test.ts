import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect as connectNats } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { STORAGE } from "../../../kernel/broker/config.ts";
import { authenticator } from "../../../kernel/ipc/jwt.ts";
import { Authority } from "../../../kernel/keys/authority.ts";
import { startOf } from "../../../kernel/launcher/lock.ts";
import type { Order, Report } from "../../../kernel/launcher/protocol.ts";
import { natsServer, withDirectory } from "../broker/harness.ts";

const MAIN = fileURLToPath(new URL("../../../kernel/launcher/main.ts", import.meta.url));
const KERNEL = fileURLToPath(new URL("./kernel.ts", import.meta.url));
const TSX = import.meta.resolve("tsx");
const CHILD = "test/kernel/launcher/child.ts";

type Message = Report | { type: "hello"; pid: number };
type Of<T extends Message["type"]> = Extract<Message, { type: T }>;

/** A real launcher with a real broker and the test's kernel; run from another directory than the repository's. */
class Machine {
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

class Kernel {
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
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

async function gone(pids: number[]): Promise<void> {
  while (pids.some((pid) => startOf(pid) !== undefined)) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** Pids of all processes that belong to this home, by their environment or arguments (Linux). */
function processesOf(home: string): number[] {
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

async function withMachine(
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

const start = (id: string, mode: string): Order => ({ type: "start", id, entry: CHILD, args: [mode], env: {} });

test("the kernel orders, the launcher starts, kills and reports; stop ends all with the kernel's code", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const broker = await kernel.next("broker");
    assert.is(broker.state, "up");
    assert.is(readFileSync(join(machine.home, "run", "url"), "utf8").trim(), broker.url);
    assert.is(Number(readFileSync(join(machine.home, "run", "pid"), "utf8")), machine.process.pid);
    kernel.order(start("a", "wait"));
    const { pid } = await kernel.next("started");
    kernel.order({ type: "list" });
    assert.equal(
      (await kernel.next("children")).children.map((child) => [child.id, child.pid]),
      [["a", pid]],
    );
    kernel.order({ type: "kill", id: "a", signal: "SIGKILL" });
    assert.equal(await kernel.next("exited").then(({ id, signal }) => [id, signal]), ["a", "SIGKILL"]);
    kernel.order({ type: "nonsense" } as never);
    assert.match((await kernel.next("refused")).reason, "no order is called nonsense");
    kernel.order({ type: "stop", code: 42 });
    assert.equal(await machine.exit, [42, null]);
    assert.match(machine.text, "test kernel");
    assert.not(existsSync(join(machine.home, "run", "pid")));
  }));

test("a kernel that is killed is replaced; its siblings run on untouched and are there to adopt", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    kernel.order(start("a", "wait"));
    const { pid } = await kernel.next("started");
    const since = startOf(pid);
    process.kill(kernel.pid, "SIGKILL");
    await gone([kernel.pid]);
    const next = await machine.kernel();
    assert.is.not(next.pid, kernel.pid);
    assert.is((await next.next("broker")).state, "up");
    next.order({ type: "list" });
    assert.equal(
      (await next.next("children")).children.map((child) => child.pid),
      [pid],
    );
    assert.is(startOf(pid), since);
    next.order({ type: "kill", id: "a", signal: "SIGTERM" });
    assert.is((await next.next("exited")).signal, "SIGTERM", "the new kernel owns the old one's children");
  }));

test("a broker that is killed comes back on the same port, and the kernel hears of both", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const { url } = await kernel.next("broker");
    const server = processesOf(machine.home).find((pid) =>
      readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("nats-server"),
    )!;
    process.kill(server, "SIGKILL");
    assert.equal(await kernel.next("broker"), { type: "broker", state: "down", url });
    assert.equal(await kernel.next("broker"), { type: "broker", state: "up", url });
    const system = new Authority(join(machine.home, "keys"), { storage: STORAGE }).systemUser();
    const connection = await connectNats({ servers: url, authenticator: authenticator(system.jwt, system.key) });
    await connection.close();
  }));

test("kill -9 of the launcher leaves no process behind, and the home can be used again", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    for (const mode of ["wait", "stubborn", "busy"]) {
      kernel.order({ ...(start(mode, mode) as Extract<Order, { type: "start" }>), env: { SOMA_HOME: machine.home } });
    }
    for (let i = 0; i < 3; i++) await kernel.next("started");
    // Launcher, broker, kernel, three children, and the compilers that tsx started.
    assert.ok(processesOf(machine.home).length >= 6);
    machine.process.kill("SIGKILL");
    await machine.exit;
    await gone(processesOf(machine.home));
    assert.equal(processesOf(machine.home), []);
    const again = new Machine(machine.home);
    const next = await again.kernel();
    next.order({ type: "stop", code: 0 });
    assert.equal(await again.exit, [0, null]);
  }));

test("Ctrl-C reaches the launcher alone: the kernel is asked first, the broker goes last", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const { url } = await kernel.next("broker");
    kernel.order(start("a", "wait"));
    await kernel.next("started");
    // A terminal signals the whole foreground group.
    process.kill(-machine.process.pid!, "SIGINT");
    await kernel.next("shutdown");
    kernel.order({ type: "kill", id: "a", signal: "SIGTERM" });
    assert.is((await kernel.next("exited")).signal, "SIGTERM", "the child ran until the kernel ended it");
    const system = new Authority(join(machine.home, "keys"), { storage: STORAGE }).systemUser();
    const connection = await connectNats({ servers: url, authenticator: authenticator(system.jwt, system.key) });
    await connection.close();
    kernel.order({ type: "stop", code: 0 });
    assert.equal(await machine.exit, [0, null]);
    assert.match(readFileSync(join(machine.home, "log", "broker.log"), "utf8"), "Server Exiting");
  }));

test("a second Ctrl-C does not wait for the kernel", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    kernel.order(start("a", "stubborn"));
    const { pid } = await kernel.next("started");
    machine.process.kill("SIGINT");
    await kernel.next("shutdown");
    machine.process.kill("SIGINT");
    assert.equal(await machine.exit, [1, null]);
    assert.match(machine.text, "interrupted again");
    assert.is(startOf(pid), undefined);
  }));

test("a kernel that keeps failing is given up: everything stops with exit 1 and its last words", () =>
  withMachine(async (machine) => {
    assert.equal(await machine.exit, [1, null]);
    assert.match(machine.text, /no\/such\/kernel\.ts/);
    assert.match(machine.text, "the kernel keeps failing: stopping everything");
    assert.is(machine.text.match(/the kernel died/g)?.length, 6);
  }, "no/such/kernel.ts"));

test("a second launcher on the same home says in one line who runs there and how to attach", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const second = new Machine(machine.home);
    assert.equal(await second.exit, [1, null]);
    assert.match(second.text, new RegExp(`^soma: runs already as process ${machine.process.pid} .*attach.*\n$`));
    kernel.order({ type: "list" });
    await kernel.next("children");
  }));

test("with NATS_URL no broker is started and the kernel is told that one", () =>
  withMachine(
    async (machine) => {
      const kernel = await machine.kernel();
      assert.equal(await kernel.next("broker"), { type: "broker", state: "up", url: "nats://127.0.0.1:1" });
      assert.not(existsSync(join(machine.home, "log", "broker.log")));
      kernel.order({ type: "stop", code: 0 });
      assert.equal(await machine.exit, [0, null]);
    },
    KERNEL,
    { NATS_URL: "nats://127.0.0.1:1" },
  ));

test.run();
