// Owns the launcher's work: keeps broker and kernel running, obeys the kernel, ends everything in order.
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { createActor } from "xstate";
import type { Broker } from "../broker/server.ts";
import { Children } from "./children.ts";
import { BEAT_MS, HangWatch } from "./hang.ts";
import { keptMachine } from "./kept.ts";
import { signal } from "./node.ts";
import { type Order, parseOrder, type Report, SHUTDOWN_MS } from "./protocol.ts";
import type { TetherKind } from "./tether.ts";

export const KERNEL = "kernel";
/** One Ctrl-C may arrive twice, from the terminal and from npm: only a later one is a second. */
const SAME_MS = 500;
/** What is left when the kernel orders the end has this long between TERM and KILL. */
const LEFT_MS = 1_000;
/** Between looks whether a full disk has room again. */
const ROOM_MS = 500;

export interface LaunchOptions {
  /** Path of the program to keep: the kernel's. */
  entry: string;
  args?: string[];
  env: Record<string, string>;
  log: string;
  tether: TetherKind;
  /** Starts the broker; `url` is that of its former start, whose port it must take again. */
  startBroker: (url: string | undefined) => Promise<Broker>;
  say: (line: string) => void;
  /** Hears what the kernel prints. */
  echo?: (chunk: Buffer) => void;
}

export interface Launcher {
  /** Resolves with the exit code when nothing runs any more. */
  ended: Promise<number>;
  /** An ordered end; at once when it is asked for again, impatiently, a while later. */
  interrupt(impatient: boolean): void;
}

/** Starts the broker, then the kernel. Rejects when the broker's first start fails; nothing runs then. */
export async function launch(options: LaunchOptions): Promise<Launcher> {
  const { say } = options;
  let broker = await options.startBroker(undefined);
  let brokerUp = true;
  let brokerSince = Date.now();
  /** It was said that the broker waits for room. */
  let roomless = false;
  let kernel: ChildProcess | undefined;
  const hang = new HangWatch();
  let ending = false;
  /** When the end was first asked for, ms. */
  let interrupted: number | undefined;
  let resolveEnded: (code: number) => void;
  const ended = new Promise<number>((resolve) => (resolveEnded = resolve));

  /** To the kernel. One that is about to die or not yet born misses it: a fresh one asks for `list`. */
  const report = (message: Report) => {
    if (kernel?.connected) kernel.send(message, () => undefined);
  };
  const brokerState = (): Report => ({
    type: "broker",
    state: brokerUp ? "up" : "down",
    url: broker.url,
    startedAt: brokerSince,
    ...(broker.pid === undefined ? {} : { pid: broker.pid }),
  });

  const children = new Children({
    ...options,
    echo: (id, chunk) => id === KERNEL && options.echo?.(chunk),
    report: (message) => {
      if (!("id" in message) || message.id !== KERNEL) return report(message);
      if (message.type === "exited") kernelEnded(message);
    },
  });

  const keptBroker = createActor(
    keptMachine.provide({
      actions: {
        start: () => void startBroker(),
        down: () => {
          brokerUp = false;
          report(brokerState());
        },
        giveUp: () => void end(1, "the broker keeps failing"),
      },
    }),
  );
  const keptKernel = createActor(
    keptMachine.provide({
      actions: { start: () => startKernel(), giveUp: () => void end(1, "the kernel keeps failing") },
    }),
  );

  async function startBroker(): Promise<void> {
    try {
      // The first one was started before anything else.
      if (!brokerUp) broker = await options.startBroker(broker.url);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOSPC") return startWithRoom(error as Error);
      say(`the broker does not start: ${(error as Error).message}`);
      return keptBroker.send({ type: "DIED", at: performance.now() });
    }
    // An end that came during the start has found no broker to stop.
    if (ending) return void broker.stop();
    roomless = false;
    brokerSince = brokerUp ? brokerSince : Date.now();
    brokerUp = true;
    report(brokerState());
    keptBroker.send({ type: "UP" });
    const { code, signal } = await broker.exited;
    if (!ending) say(`the broker died (${signal ?? code}): restarting it`);
    keptBroker.send({ type: "DIED", at: performance.now() });
  }

  /** No death that counts: what is missing is room, and that comes when somebody makes some. */
  async function startWithRoom({ message }: Error): Promise<void> {
    if (!roomless) say(`the broker waits for room on the disk, make some: ${message}`);
    roomless = true;
    await sleep(ROOM_MS);
    if (!ending) await startBroker();
  }

  function startKernel(): void {
    const { entry, args, env } = options;
    hang.reset();
    const order = {
      type: "start",
      id: KERNEL,
      entry,
      args,
      bundled: true,
      env: { ...env, NATS_URL: broker.url },
    } as const;
    kernel = children.start(order, obey);
    report(brokerState());
    if (kernel?.pid !== undefined) keptKernel.send({ type: "UP" });
  }

  function kernelEnded({ code, signal, lines }: Extract<Report, { type: "exited" }>): void {
    kernel = undefined;
    if (ending) return;
    say(`the kernel died (${signal ?? code}):\n${lines.map((line) => `  ${line}`).join("\n")}`);
    if (interrupted !== undefined) return void end(1, "the kernel died while it was to stop everything");
    keptKernel.send({ type: "DIED", at: performance.now() });
  }

  function obey(message: unknown): void {
    const order: Order | { refused: string } = parseOrder(message);
    if ("refused" in order) return report({ type: "refused", order: JSON.stringify(message), reason: order.refused });
    switch (order.type) {
      case "start":
        if (ending) return report({ type: "refused", order: "start", id: order.id, reason: "everything is ending" });
        return void children.start(order);
      case "kill":
        return children.kill(order.id, order.signal);
      case "input":
        return children.input(order.id, order.data === undefined ? undefined : Buffer.from(order.data, "base64"));
      case "flow":
        return children.flow(order.id, order.on);
      case "beat":
        return hang.beat(performance.now());
      case "list":
        return report({ type: "children", children: children.list().filter(({ id }) => id !== KERNEL) });
      case "stop":
        return void end(order.code);
    }
  }

  /** Ends children and kernel, then the broker, on which their last words depend. */
  async function end(code: number, why?: string, graceMs = LEFT_MS): Promise<void> {
    if (ending) return;
    ending = true;
    clearInterval(watching);
    if (why) say(`${why}: stopping everything`);
    keptKernel.send({ type: "STOP" });
    keptBroker.send({ type: "STOP" });
    await children.end(graceMs);
    await broker.stop();
    resolveEnded(code);
  }

  function interrupt(impatient: boolean): void {
    const now = performance.now();
    if (interrupted !== undefined) {
      if (impatient && now - interrupted > SAME_MS) void end(1, "interrupted again", 0);
      return;
    }
    interrupted = now;
    if (!kernel?.connected) return void end(0);
    say("stopping");
    report({ type: "shutdown" });
    void sleep(SHUTDOWN_MS, undefined, { ref: false }).then(() =>
      end(1, `the kernel did not stop within ${SHUTDOWN_MS / 1000} s`, 0),
    );
  }

  const watching = setInterval(() => {
    if (!hang.hangs(performance.now()) || kernel?.pid === undefined) return;
    say("the kernel hangs: killing it");
    hang.reset();
    signal(kernel.pid, "SIGKILL", true);
  }, BEAT_MS);
  keptBroker.start();
  keptKernel.start();
  return { ended, interrupt };
}
