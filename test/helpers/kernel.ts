// Owns a stand-in for the kernel in tests of one service: it registers, hands out credentials and secrets, and runs the real program.
import { type ChildProcess, spawn } from "node:child_process";
import { encode } from "../../kernel/abi/codec.ts";
import { instanceName, type Service, serviceOf } from "../../kernel/abi/names.ts";
import { APP_ROLE, bootPermissions, servicePermissions } from "../../kernel/abi/rights.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import { ask } from "../../kernel/ipc/ask.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { Server, type ServerOptions } from "../../kernel/ipc/server.ts";
import type { World } from "./world.ts";

export type Kernel = Awaited<ReturnType<typeof startKernel>>;

/** `handlers` answers what a test wants besides register, ready and revokeKeys. */
export async function startKernel(world: World, handlers: ServerOptions["handlers"] = {}) {
  const { authority } = world;
  const grants = createKey("account");
  const role = authority.role("app", APP_ROLE);
  const user = authority.systemUser();
  const system = await NatsBus.connect({
    url: world.url,
    name: user.name,
    jwt: () => user.jwt,
    seed: user.key.seed,
  });
  const push = () => authority.push((subject, body) => ask(system, subject, body));
  await push();
  const bus = await world.connect("kernel");
  /** What `ps` says of each instance. */
  const processes = new Map<string, { id: string; state: string; epoch: number }>();
  const epochs = new Map<string, number>();
  const keys = new Map<string, string>();
  const children = new Set<ChildProcess>();
  const waiting = new Map<string, () => void>();
  const revoked: string[] = [];
  const allow = ({ pub, sub }: { pub: readonly string[]; sub: readonly string[] }) => ({
    pub: { allow: pub },
    sub: { allow: sub },
  });

  const options: ServerOptions = {
    owner: "kernel",
    instance: "kernel",
    epoch: 1,
    crash: (error) => {
      throw error;
    },
    handlers: {
      register: async (input: unknown, { caller }) => {
        const { service, publicKey } = input as { service: Service; publicKey: string };
        const instance = caller.slice("boot-".length);
        const epoch = (epochs.get(instance) ?? 0) + 1;
        epochs.set(instance, epoch);
        const former = keys.get(instance);
        keys.set(instance, publicKey);
        if (former !== undefined) {
          authority.revoke(former);
          await push();
        }
        const permissions = allow(servicePermissions(service, instance, epoch));
        const jwt = authority.mintActor({ name: instance, publicKey, permissions });
        const secrets = { account: authority.account, appSeed: role.seed, grantSeed: grants.seed };
        return { instance, epoch, jwt, grantKey: grants.publicKey, ...(service === "auth" ? { secrets } : {}) };
      },
      ready: (_input, { caller }) => {
        processes.set(caller, { id: caller, state: "ready", epoch: epochs.get(caller)! });
        bus.publish(subjects.event("kernel", "life.ready"), encode({ service: serviceOf(caller), instance: caller }));
        waiting.get(caller)?.();
        return {};
      },
      ps: () => ({ processes: [...processes.values()] as Output<"kernel.ps">["processes"] }),
      revokeKeys: async (input: unknown) => {
        const { publicKeys } = input as { publicKeys: string[] };
        authority.revoke(publicKeys);
        await push();
        revoked.push(...publicKeys);
        return {};
      },
      ...handlers,
    },
  };
  let server = new Server(bus, options);
  server.start();
  await bus.flush();

  return {
    grants,
    bus,
    /** Keys that auth had revoked, in order. */
    revoked,
    /** As if the kernel were dead. */
    stopServing: () => server.drain(0),
    async serveAgain(): Promise<void> {
      server = new Server(bus, options);
      server.start();
      await bus.flush();
    },
    /** Starts the program of a service; resolves when it is ready. */
    async start(service: Service, number = 1): Promise<ChildProcess> {
      const key = createKey("user");
      const instance = instanceName(service, number);
      const name = `boot-${instance}`;
      const jwt = authority.mintActor({ name, publicKey: key.publicKey, permissions: allow(bootPermissions(name)) });
      const ready = new Promise<void>((resolve) => waiting.set(instance, resolve));
      const child = spawn(process.execPath, ["--import", "tsx", `services/${service}/main.ts`], {
        env: {
          ...process.env,
          SOMA_LOG: "warn",
          SOMA_BOOTSTRAP: JSON.stringify({ url: world.url, service, name, jwt, seed: key.seed }),
        },
        stdio: ["ignore", "inherit", "inherit"],
      });
      children.add(child);
      const died = new Promise<never>((_, reject) =>
        child.once("exit", (code) => reject(new Error(`${service} ended with ${code} before it was ready`))),
      );
      await Promise.race([ready, died]);
      died.catch(() => {});
      return child;
    },
    /** Kills a child and tells everyone, as the kernel does. */
    async kill(service: Service, child: ChildProcess, number = 1): Promise<void> {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
      const instance = instanceName(service, number);
      processes.delete(instance);
      bus.publish(subjects.down(service, instance, epochs.get(instance)!), new Uint8Array(0));
    },
    async stop(): Promise<void> {
      await Promise.all(
        [...children]
          .filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
          .map((child) => {
            child.kill("SIGKILL");
            return new Promise((resolve) => child.once("exit", resolve));
          }),
      );
      await system.close();
    },
  };
}
