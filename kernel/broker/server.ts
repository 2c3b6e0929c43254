// Owns the nats-server process: lock, start, port, stop.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { replaceText } from "../launcher/file.ts";
import type { Home } from "../launcher/home.ts";
import { type Lock, takeLock } from "../launcher/lock.ts";
import { type TetherKind, tetherCommand, tetherKind } from "../launcher/tether.ts";
import { brokerConfig, type ClusterNode, type Trust } from "./config.ts";

/** Ready takes 10 to 60 ms, more with a large store: this is for a machine in trouble. */
const READY_MS = 20_000;
/** After TERM; then KILL. The server syncs its store and needs a few ms. */
const STOP_MS = 5_000;
/** The last lines of its log, for the error of a start that failed. */
const LAST_LINES = 5;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Broker {
  /** nats://host:port */
  url: string;
  /** Absent when it is not ours. */
  pid?: number;
  /** When it ends, asked or not; never when it is not ours. */
  exited: Promise<Exit>;
  /** TERM, then KILL. Resolves when it is gone and its store may be opened again. */
  stop(): Promise<void>;
}

/** The broker of NATS_URL: somebody else starts, stops and secures it. */
export function externalBroker(url: string): Broker {
  return { url, exited: new Promise(() => undefined), stop: async () => undefined };
}

export interface BrokerOptions {
  /** nats-server's path. */
  program: string;
  home: Pick<Home, "js" | "log" | "run">;
  trust: Trust;
  host?: string;
  /** The port of a former start, so that clients find it again; default: any free one. */
  port?: number;
  tether?: TetherKind;
  /** Size limits of its log. */
  log?: { bytes: number; files: number };
  /** One of several; absent: the only one. */
  cluster?: ClusterNode;
}

/**
 * Starts nats-server as a child that dies with us, from the main thread only. Resolves when it takes connections. Throws
 * LockHeld when another one has the store (two on one store would both start), or an error with the log's last lines.
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const lock = takeLock(join(options.home.js, "lock"));
  try {
    return await startLocked(lock, options);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(lock: Lock, options: BrokerOptions): Promise<Broker> {
  const { program, home, trust, host = "127.0.0.1", port = -1, log, cluster, tether = tetherKind() } = options;
  mkdirSync(home.log, { recursive: true, mode: 0o700 });
  mkdirSync(home.run, { recursive: true, mode: 0o700 });
  const logFile = join(home.log, "broker.log");
  const config = join(home.run, "broker.conf");
  replaceText(config, brokerConfig(trust, { host, port, store: home.js, logFile, log, cluster }));
  // Fresh each time, since a server that was killed leaves its ports file behind; we hold the lock, so no other is in use.
  for (const name of readdirSync(home.run)) {
    if (name.startsWith("ports-")) rmSync(join(home.run, name), { recursive: true });
  }
  const ports = mkdtempSync(join(home.run, "ports-"));
  const { command, args, stdin } = tetherCommand(tether, program, ["-c", config, "--ports_file_dir", ports]);
  const child = spawn(command, args, { stdio: [stdin, "ignore", "ignore"], detached: true });
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  try {
    const server = await ready(ports, child, exited, logFile);
    lock.share(server.pid);
    void exited.then(() => {
      lock.release();
      rmSync(ports, { recursive: true, force: true });
    });
    return { ...server, exited, stop: () => stop(child, exited) };
  } catch (error) {
    kill(child);
    throw error;
  }
}

/** Waits for the ports file, which the server writes when it listens: <program>_<pid>.ports, not atomically. */
async function ready(directory: string, child: ChildProcess, exited: Promise<Exit>, logFile: string) {
  let ended: Exit | undefined;
  exited.then(
    (exit) => (ended = exit),
    () => (ended = { code: null, signal: null }),
  );
  for (const end = performance.now() + READY_MS; performance.now() < end; await sleep(5)) {
    if (ended) break;
    const name = readdirSync(directory).find((file) => file.endsWith(".ports"));
    const url = name && parsePorts(readFileSync(join(directory, name), "utf8"));
    const pid = Number(name?.match(/_(\d+)\.ports$/)?.[1]);
    if (url) return { url, pid };
  }
  if (child.pid === undefined) await exited; // Throws what spawn had to say.
  const how = ended ? `ended with ${ended.signal ?? ended.code}` : `was not ready after ${READY_MS / 1000} s`;
  throw new Error(`nats-server ${how}: ${lastLines(logFile) || `its log ${logFile} is empty`}`);
}

/** The first client URL; undefined while the file is half written. */
function parsePorts(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { nats?: string[] }).nats?.[0];
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function lastLines(logFile: string): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-LAST_LINES).join("\n");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

async function stop(child: ChildProcess, exited: Promise<Exit>): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => kill(child), STOP_MS);
  await exited;
  clearTimeout(timer);
}

/** Kills the child's whole group: with a pipe tether the child is a shell and the server is below it. */
function kill(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid, "SIGKILL");
}
