// Owns a real broker for a test: a temporary home, the root of trust, and connections under any name.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Service } from "../../kernel/abi/names.ts";
import { type Permissions, servicePermissions } from "../../kernel/abi/rights.ts";
import { storageOf } from "../../kernel/broker/config.ts";
import { provision } from "../../kernel/broker/provision.ts";
import { type Broker, startBroker } from "../../kernel/broker/server.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Handlers, Server, type ServerOptions } from "../../kernel/ipc/server.ts";
import { createStores } from "../../kernel/ipc/stores.ts";
import { Authority } from "../../kernel/keys/authority.ts";
import { cachesOf, homeAt } from "../../kernel/launcher/home.ts";
import { freePort } from "./port.ts";

export type World = Awaited<ReturnType<typeof startWorld>>;

/** Everything that the account allows. */
export const ALL_RIGHTS: Permissions = { pub: [">"], sub: [">"] };

/** `js`: an empty directory for the broker's store, in place of one in the home. `nodes`: so many brokers, as a cluster. */
export async function startWorld({
  stores = false,
  js,
  nodes = 1,
}: {
  stores?: boolean;
  js?: string;
  nodes?: number;
} = {}) {
  const directory = mkdtempSync(join(tmpdir(), "soma-test-"));
  if (js !== undefined) symlinkSync(js, join(directory, "js"));
  const home = homeAt(directory);
  const { path: program } = await provision({ caches: cachesOf(home) });
  const authority = new Authority(home.keys, { storage: storageOf(nodes) });
  const trust = authority;
  let broker: Broker;
  let others: Broker[] = [];
  if (nodes === 1) broker = await startBroker({ program, home, trust });
  else {
    const ports = await Promise.all(Array.from({ length: nodes }, freePort));
    const peers = ports.map((port) => `127.0.0.1:${port}`);
    const all = ports.map((port, i) => {
      const own = i === 0 ? home : homeAt(join(directory, `node-${i + 1}`));
      mkdirSync(own.js, { recursive: true });
      return startBroker({
        program,
        home: own,
        trust,
        cluster: { name: `node-${i + 1}`, port, peers, secret: "hush" },
      });
    });
    [broker, ...others] = (await Promise.all(all)) as [Broker, ...Broker[]];
  }
  const url = () => [broker, ...others].map((one) => one.url).join(",");
  const buses: NatsBus[] = [];

  /** A connection under `name` with the given rights. */
  async function connect(name: string, permissions: Permissions = ALL_RIGHTS): Promise<NatsBus> {
    const key = createKey("user");
    const { pub, sub } = permissions;
    const spec = { name, publicKey: key.publicKey, permissions: { pub: { allow: pub }, sub: { allow: sub } } };
    const jwt = /^(kernel|person|boot-|(auth|memory|device|scheduler|model)-\d)/.test(name)
      ? authority.mintActor(spec)
      : authority.mintUser(spec);
    const bus = await NatsBus.connect({
      url: url(),
      name,
      jwt: () => jwt,
      seed: key.seed,
    });
    buses.push(bus);
    return bus;
  }

  if (stores) await createStores(await connect("kernel"));

  return {
    home,
    authority,
    connect,
    get url() {
      return url();
    },
    /** By the names that a cluster's leader has: node-1, ... */
    node: (name: string): Broker => [broker, ...others][Number(name.slice("node-".length)) - 1]!,
    get broker() {
      return broker;
    },
    client: async (name: string, permissions?: Permissions) => new Client(await connect(name, permissions)),
    /** Serves `service` with some handlers, as instance `<service>-1`, in this process. */
    async serve<S extends Service>(
      service: S,
      handlers: Partial<Handlers<S>>,
      options: Partial<ServerOptions> & { number?: number } = {},
    ) {
      const instance = `${service}-${options.number ?? 1}`;
      const epoch = options.epoch ?? 1;
      const bus = await connect(instance, servicePermissions(service, instance, epoch));
      const crashes: unknown[] = [];
      const server = new Server(bus, {
        owner: service,
        instance,
        handlers: handlers as ServerOptions["handlers"],
        crash: (error) => crashes.push(error),
        ...options,
        epoch,
      });
      server.start();
      await bus.flush();
      return { server, bus, crashes };
    },
    /** Kills the broker and starts it again on the same port and store. */
    async restartBroker(awayMs = 0) {
      const port = Number(new URL(broker.url).port);
      process.kill(broker.pid!, "SIGKILL");
      await broker.exited;
      await new Promise((resolve) => setTimeout(resolve, awayMs));
      broker = await startBroker({ program, home, trust: authority, port });
    },
    async stop() {
      for (const bus of buses) await bus.close();
      for (const one of [broker, ...others]) await one.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
