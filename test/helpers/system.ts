// Owns whole systems for tests: a real launcher, broker and kernel in a temporary home, with the services that the test names.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { z } from "zod";
import type { processRow } from "../../kernel/abi/syscalls/kernel.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { parseCreds } from "../../kernel/ipc/jwt.ts";
import type { ChildSpec } from "../../kernel/manifest.ts";

export type Row = z.output<typeof processRow>;
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = at("../../kernel/launcher/main.ts");
const TSX = import.meta.resolve("tsx");
/** Small real services; see there. */
export const STANDIN = at("fixtures/standin.ts");
export const AUTH = at("fixtures/auth.ts");
export const CRASHING = at("fixtures/crashing.ts");
export const LENDING = at("fixtures/lending.ts");
export const ECHO = at("fixtures/echo");

export type Spec = Partial<ChildSpec> & Pick<ChildSpec, "service" | "entry">;
/** All five, of which only auth and memory answer calls of their own. */
export const STANDINS: Spec[] = [
  { service: "auth", entry: AUTH, core: true },
  ...(["memory", "device", "scheduler", "model"] as const).map((service) => ({ service, entry: STANDIN })),
];

export class System {
  readonly home = mkdtempSync(join(tmpdir(), "soma-system-"));
  readonly launcher: ChildProcess;
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;
  /** What the launcher printed. */
  text = "";
  private buses: NatsBus[] = [];

  /** Without a manifest the real services start. `js`: an empty directory for the broker's store, in place of one in the home. */
  constructor(manifest?: readonly Spec[], env: Record<string, string> = {}, js?: string) {
    if (js !== undefined) symlinkSync(js, join(this.home, "js"));
    const file = join(this.home, "manifest.json");
    if (manifest) writeFileSync(file, JSON.stringify(manifest));
    const { NATS_URL: _, ...rest } = process.env;
    this.launcher = spawn(process.execPath, ["--import", TSX, MAIN], {
      env: { ...rest, SOMA_HOME: this.home, ...(manifest ? { SOMA_MANIFEST: file } : {}), ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    for (const output of [this.launcher.stdout!, this.launcher.stderr!])
      output.on("data", (chunk) => (this.text += chunk));
    // A test that breaks off leaves nothing either: all die with their launcher.
    process.once("exit", () => this.launcher.kill("SIGKILL"));
    this.ended = once(this.launcher, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  }

  /** Resolves once every named service is ready. */
  async up(instances: readonly string[] = STANDINS.map(({ service }) => `${service}-1`)): Promise<Client> {
    await until("run/system.json is there", () => existsSync(join(this.home, "run", "system.json")), this);
    const client = await this.person();
    for (const instance of instances) await this.state(client, instance, "ready");
    return client;
  }

  /** A connection as the person. */
  async person(): Promise<Client> {
    const { url } = JSON.parse(readFileSync(join(this.home, "run", "system.json"), "utf8")) as { url: string };
    const { name, jwt, key } = parseCreds(readFileSync(join(this.home, "person.creds"), "utf8"));
    const bus = await NatsBus.connect({ url, name, jwt: () => jwt, seed: key.seed });
    this.buses.push(bus);
    return new Client(bus);
  }

  /** The row of `id` once it is in that state. */
  async state(client: Client, id: string, state: string, holds: (row: Row) => boolean = () => true): Promise<Row> {
    let row: Row | undefined;
    await until(
      `${id} is ${state}`,
      async () => {
        row = (await ps(client)).find((candidate) => candidate.id === id);
        return row?.state === state && holds(row);
      },
      this,
    );
    return row!;
  }

  /** Pids of all processes that were started for this home, by /proc. */
  processes(): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`SOMA_HOME=${this.home}`);
        } catch {
          return false; // It has ended, or is not ours to look at.
        }
      });
  }

  /** Takes everything down, whatever state it is in. */
  async stop(): Promise<void> {
    for (const bus of this.buses) await bus.close();
    if (this.launcher.exitCode === null && this.launcher.signalCode === null) {
      this.launcher.kill("SIGTERM");
      const timer = setTimeout(() => this.launcher.kill("SIGKILL"), 8_000);
      await this.ended;
      clearTimeout(timer);
    }
    rmSync(this.home, { recursive: true, force: true, maxRetries: 3 });
  }
}

export const ps = async (client: Client): Promise<Row[]> =>
  (await client.call("kernel.ps", {}, { ttl: 5_000 })).processes as Row[];

/** [id, pid, epoch] of each service. */
export const services = (rows: Row[]) =>
  rows.filter(({ kind }) => kind === "service").map(({ id, pid, epoch }) => [id, pid, epoch]);

export const kernelRow = async (client: Client): Promise<Row> => (await ps(client)).find(({ id }) => id === "kernel")!;

/** Waits until it holds, for a minute at most; then fails with what was awaited and what the system printed last. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  system?: Pick<System, "text">,
  everyMs = 30,
): Promise<void> {
  const end = performance.now() + 60_000;
  for (;;) {
    let error: unknown;
    try {
      if (await holds()) return;
    } catch (caught) {
      error = caught;
    }
    if (performance.now() > end)
      throw new Error(`not within a minute: ${what}\n${system?.text.slice(-3_000) ?? ""}`, { cause: error });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
