// Owns the system under test: all real services, a small model with random weights, and sixteen apps with identities of their own.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decode } from "../../kernel/abi/codec.ts";
import { SERVICES, type Service } from "../../kernel/abi/names.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Row, type Spec, System, until } from "../helpers/system.ts";
import { modelFolder } from "../services/model/running.ts";

export const APPS = 16;
const CALLS = [
  "model.generate",
  "model.tokenize",
  "model.train",
  "model.job",
  "memory.get",
  "memory.put",
  "memory.write",
  "auth.whoami",
  "device.list",
];

/**
 * The real manifest, but that restarts are forgiven after `FORGIVEN_MS` and quarantine is probed after `PROBE_MS`: so each of
 * a hundred kills is a first one, as it is in life, without half a minute of waiting before each.
 */
export const FORGIVEN_MS = 1_000;
export const PROBE_MS = 3_000;
const more = { period: FORGIVEN_MS, probe: PROBE_MS };
const MANIFEST: Spec[] = [
  { service: "auth", entry: "services/auth/main.ts", core: true, ...more },
  { service: "memory", entry: "services/memory/main.ts", ...more },
  { service: "device", entry: "services/device/main.ts", startTimeout: 60_000, nice: 5, ...more },
  { service: "scheduler", entry: "services/scheduler/main.ts", ...more },
  { service: "model", entry: "services/model/main.ts", ...more },
];

export interface Down {
  instance: string;
  epoch: number;
  at: number;
  reason: string;
}

export interface Credential {
  url: string;
  name: string;
  jwt: string;
  seed: string;
}

export interface App {
  name: string;
  client: Client;
}

export class Rig {
  readonly apps: App[] = [];
  /** DOWN events as an app saw them. */
  readonly downs: Down[] = [];
  person!: Client;

  private constructor(readonly system: System) {}

  /** `js`: a directory for the broker's store, in place of one in the home. */
  static async start(js?: string): Promise<Rig> {
    const rig = new Rig(new System(MANIFEST, {}, js));
    try {
      await rig.system.up(SERVICES.map((service) => `${service}-1`));
      rig.person = await rig.system.person();
      await rig.person.call("model.importDir", { dir: modelFolder({ context: 1024 }), name: "fox" });
      await rig.person.call("model.deploy", { model: "fox", alias: "default" });
      for (let number = 1; number <= APPS; number++) rig.apps.push(await rig.admit(`load-${number}`));
      rig.apps[0]!.client.bus.subscribe("evt.kernel.down.>", ({ subject, data }) => {
        const [, , , , instance = "", epoch] = subject.split(".");
        const { reason, lines } = decode(data) as { reason: string; lines: string[] };
        rig.downs.push({ instance, epoch: Number(epoch), at: performance.now(), reason: `${reason}: ${lines.at(-1)}` });
      });
      await rig.apps[0]!.client.bus.flush();
      return rig;
    } catch (error) {
      await rig.stop();
      throw error;
    }
  }

  /** A grant for an app of that name, and what it connects with. */
  async credential(name: string): Promise<Credential> {
    const { publicKey, seed } = createKey("user");
    const { jwt } = await this.person.call("auth.grant", { holder: name, publicKey, calls: CALLS });
    return { url: this.url, name, jwt, seed };
  }

  private async admit(name: string): Promise<App> {
    const { url, jwt, seed } = await this.credential(name);
    return { name, client: new Client(await NatsBus.connect({ url, name, jwt: () => jwt, seed })) };
  }

  get url(): string {
    const file = JSON.parse(readFileSync(join(this.system.home, "run", "system.json"), "utf8")) as { url: string };
    return file.url;
  }

  row(id: string) {
    return this.system.state(this.person, id, "ready");
  }

  async rows(ttl = 5_000): Promise<Row[]> {
    return (await this.person.call("kernel.ps", {}, { ttl, retry: ttl > 1_000 })).processes as Row[];
  }

  /** Resolves with the time when the service answered a call of its own under another epoch. */
  async answering(service: Service, after: number): Promise<{ at: number; epoch: number }> {
    let epoch = 0;
    await until(
      `${service} answers again`,
      async () => {
        // A call that finds nobody fails at once; no wait is longer than what we want to measure.
        const stat = await this.person.call(`${service}.stat`, {}, { ttl: 400, retry: false });
        epoch = stat.epoch;
        return epoch > after;
      },
      this.system,
      5,
    );
    return { at: performance.now(), epoch };
  }

  /** Ends it in order; ms that this took. */
  async stop(): Promise<number> {
    for (const { client } of this.apps) await client.bus.close();
    const began = performance.now();
    await this.system.stop();
    return performance.now() - began;
  }
}
