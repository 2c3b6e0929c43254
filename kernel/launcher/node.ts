// Owns starting a Node program of ours as a child: interpreter, options, environment, tether.
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { isAbsolute, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { cachesOf, homeAt } from "./home.ts";
import type { StartOrder } from "./protocol.ts";
import { TETHER_FD, type TetherKind, tetherNode } from "./tether.ts";

/** The repository: entries and packages are found from here, never from the directory that we happen to run in. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const RUN = fileURLToPath(new URL("./run.mjs", import.meta.url));

/** What a child needs of our environment to run at all. */
const PASSED = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];

/** Spawns it in a group of its own, so that a terminal's Ctrl-C reaches only us. fd 3 is the IPC channel, if any. */
export function spawnNode(tether: TetherKind, order: Omit<StartOrder, "type" | "id">, ipc: boolean): ChildProcess {
  const entry = isAbsolute(order.entry) ? order.entry : join(ROOT, order.entry);
  const bundled = order.bundled === true && entry.endsWith(".ts");
  const options = [
    ...(entry.endsWith(".ts") && !bundled ? ["--import", TSX] : []),
    ...(order.memoryMb === undefined ? [] : [`--max-old-space-size=${order.memoryMb}`]),
    ...(order.nodeOptions ?? []),
  ];
  const program = bundled ? [RUN, codeCache(), entry] : [entry];
  const { command, args } = tetherNode(tether, [...options, ...program, ...(order.args ?? [])]);
  const passed = PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...Object.fromEntries(passed), ...order.env },
    detached: true,
    stdio: [
      order.stdin === undefined && !order.interactive ? "ignore" : "pipe",
      "pipe",
      "pipe",
      ipc ? "ipc" : "ignore",
      ...(tether === "pipe" ? (["pipe"] as const) : []),
    ],
  });
  // A child that ends before it has read its secret breaks this pipe; its exit says so.
  child.stdin?.on("error", () => undefined);
  if (order.stdin !== undefined) child.stdin?.write(order.stdin);
  if (!order.interactive) child.stdin?.end();
  child.stdio[TETHER_FD]?.on("error", () => undefined);
  return child;
}

/** Where bundles lie: shared by all homes of this user, or in our own where that cannot be written. */
function codeCache(): string {
  const [shared, own] = cachesOf(homeAt()).map((cache) => join(cache, "code")) as [string, string];
  for (const directory of [shared, own]) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      accessSync(directory, constants.W_OK);
      return directory;
    } catch (error) {
      if (directory === own) throw error;
    }
  }
  return own;
}

/** Signals the child's process group, or only the child. False when it is gone already. */
export function signal(pid: number, signal: NodeJS.Signals, group: boolean): boolean {
  try {
    return process.kill(group ? -pid : pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
