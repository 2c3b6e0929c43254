// Owns a real broker for a test: a temporary home, the root of trust, and connections under any name.
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Service } from "../../kernel/abi/names.ts";
import { type Permissions, servicePermissions } from "../../kernel/abi/rights.ts";
import { STORAGE } from "../../kernel/broker/config.ts";
import { provision } from "../../kernel/broker/provision.ts";
import { startBroker } from "../../kernel/broker/server.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Handlers, Server, type ServerOptions } from "../../kernel/ipc/server.ts";
import { createStores } from "../../kernel/ipc/stores.ts";
import { Authority } from "../../kernel/keys/authority.ts";
import { cachesOf, homeAt } from "../../kernel/launcher/home.ts";

export type World = Awaited<ReturnType<typeof startWorld>>;

/** Everything that the account allows. */
export const ALL_RIGHTS: Permissions = { pub: [">"], sub: [">"] };

/** `js`: an empty directory for the broker's store, in place of one in the home. */
export async function startWorld({ stores = false, js }: { stores?: boolean; js?: string } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "soma-test-"));
  if (js !== undefined) symlinkSync(js, join(directory, "js"));
  const home = homeAt(directory);
  const { path: program } = await provision({ caches: cachesOf(home) });
  const authority = new Authority(home.keys, { storage: STORAGE });
  let broker = await startBroker({ program, home, trust: authority });
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
      url: broker.url,
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
      return broker.url;
    },
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
      await broker.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
