// Owns a system as it runs in containers, on one machine: brokers, several kernels with homes of their own and shared keys, and a
// launcher for each service that the kernels hear over the broker.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Service } from "../../kernel/abi/names.ts";
import { launcherPermissions } from "../../kernel/abi/rights.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { formatCreds, parseCreds } from "../../kernel/ipc/jwt.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { rules } from "../../kernel/registry.ts";
import { kernelRow, type Spec, System, until } from "./system.ts";
import { startWorld, type World } from "./world.ts";

export class Site {
  readonly kernels: System[] = [];
  readonly launchers = new Map<string, ChildProcess>();
  client!: Client;
  private readonly directory = mkdtempSync(join(tmpdir(), "soma-site-"));
  private readonly person = join(this.directory, "person.creds");

  private constructor(
    readonly world: World,
    private readonly specs: readonly Spec[],
    private readonly nodes: number,
  ) {}

  /** One kernel that serves, one that stands by. */
  static async start(specs: readonly Spec[], nodes = 1): Promise<Site> {
    const site = new Site(await startWorld({ nodes }), specs, nodes);
    for (const { service } of specs) site.launch(service as Service);
    const first = site.startKernel();
    await until("the first kernel serves", () => first.text.includes("all services are up"), first);
    const { name, jwt, key } = parseCreds(readFileSync(site.person, "utf8"));
    site.client = new Client(await NatsBus.connect({ url: site.world.url, name, jwt: () => jwt, seed: key.seed }));
    await site.standingBy(site.startKernel());
    return site;
  }

  startKernel(): System {
    const env = { NATS_URL: this.world.url, SOMA_KEYS: this.world.home.keys, SOMA_CREDS_FILE: this.person };
    const system = new System(
      this.specs.map((spec) => ({ ...spec, place: "container" })),
      { ...env, SOMA_REPLICAS: String(this.nodes) },
    );
    this.kernels.push(system);
    return system;
  }

  standingBy = (kernel: System) =>
    until("the kernel stands by", () => read(join(kernel.home, "run/health")) === "waiting", kernel);

  /** A launcher for a service, under a name of its own. */
  launch(service: Service, name: string = service): ChildProcess {
    const key = createKey("user");
    const actor = { name: `boot-launcher-${service}`, publicKey: key.publicKey };
    const jwt = this.world.authority.mintActor({ ...actor, permissions: rules(launcherPermissions(service)) });
    const creds = join(this.directory, `${name}.creds`);
    writeFileSync(creds, formatCreds({ name: actor.name, jwt, key }));
    const home = join(this.directory, name);
    const env = { ...process.env, NATS_URL: this.world.url, SOMA_LAUNCHER: creds, SOMA_HOME: home };
    const child = spawn(process.execPath, ["--import", "tsx", "kernel/launcher/join.ts"], { env, stdio: "ignore" });
    this.launchers.set(name, child);
    return child;
  }

  /** What a launcher's container would say of its health. */
  health = (launcher: string) => read(join(this.directory, launcher, "run/health"));

  epoch = async () => (await kernelRow(this.client)).epoch!;

  /** To a kernel with its launcher and all that this one started. */
  signal(kernel: System, signal: NodeJS.Signals): void {
    for (const pid of kernel.processes()) process.kill(pid, signal);
  }

  /** ms until a kernel of a later epoch answers. */
  async takeover(epoch: number): Promise<number> {
    const began = performance.now();
    await until("another kernel answers", async () => (await this.epoch()) > epoch);
    return Math.round(performance.now() - began);
  }

  async stop(): Promise<void> {
    await this.client?.bus.close();
    for (const child of this.launchers.values()) child.kill("SIGKILL");
    for (const kernel of this.kernels) this.signal(kernel, "SIGKILL");
    for (const kernel of this.kernels) await kernel.stop();
    await this.world.stop();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
