// Owns the simulated kernel process: the product's own parts, wired as kernel/main.ts does, on the simulated bus, store and launcher.

import { SomaError } from "../../kernel/abi/errors.ts";
import type { Permissions } from "../../kernel/abi/rights.ts";
import { Announcer } from "../../kernel/announce.ts";
import { kernelCalls } from "../../kernel/calls.ts";
import { type Surroundings, supervise, TICK } from "../../kernel/effects.ts";
import { Hands } from "../../kernel/hands.ts";
import type { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { commonHandlers } from "../../kernel/ipc/common.ts";
import { GrantTable, type SignedGrant } from "../../kernel/ipc/grants.ts";
import { Metrics } from "../../kernel/ipc/metrics.ts";
import { createKey, keyFromSeed } from "../../kernel/ipc/nkey.ts";
import { Recorder } from "../../kernel/ipc/recorder.ts";
import { Server, type ServerOptions } from "../../kernel/ipc/server.ts";
import { Leases } from "../../kernel/leases.ts";
import { loadManifest } from "../../kernel/manifest.ts";
import { Records } from "../../kernel/records.ts";
import { Registry } from "../../kernel/registry.ts";
import { Apps } from "../../kernel/spawn.ts";
import { quiet } from "./log.ts";
import { Exit, type Process, type World } from "./world.ts";

/** The same in every run: keys are made once, for making them is most of a run's work. */
const GRANT_SEED = createKey("account").seed;
const APP_SEED = createKey("account").seed;
const ACCOUNT = createKey("account").publicKey;
export const SECRETS = { account: ACCOUNT, appSeed: APP_SEED, grantSeed: GRANT_SEED };
const GRANT_KEY = keyFromSeed(GRANT_SEED).publicKey;

/** Stands for kernel/keys/authority.ts, whose state is on disk: which keys are void. Credentials are plain JSON here. */
function authority(world: World) {
  return {
    mintActor: ({ name, publicKey, permissions }: { name: string; publicKey: string; permissions: Rules }) =>
      JSON.stringify({ name, publicKey, permissions: { pub: permissions.pub.allow ?? [], sub: [] } }),
    revoke: (keys: string | readonly string[]) => {
      for (const key of [keys].flat()) world.revoked.add(key);
    },
    prune: () => {},
  };
}
type Rules = Record<keyof Permissions, { allow?: string[] }>;

export async function kernelProgram(world: World, process: Process): Promise<void> {
  const epoch = (world.kernels += 1);
  const { clock, broker, random } = world;
  const hands = new Hands(world.channel(process));
  const key = world.key().publicKey;
  // The launcher starts a kernel once the broker is there.
  while (!broker.up) await new Promise((resolve) => setTimeout(resolve, 50));
  const bus = world.connect(process, { name: "kernel", publicKey: key, epoch } as never);
  const sys = world.connect(process, { name: "sys", publicKey: `${key}-sys` });
  const crash = (error: unknown): never => {
    if (!(error instanceof SomaError)) world.bug(error);
    world.end(process, 70, null);
    throw new Exit(70);
  };
  bus.on(({ type }) => type === "closed" && world.end(process, 70, null));
  /** The account as it stands, in force at the broker when it resolves. */
  const push = () =>
    new Promise<void>((resolve, reject) => {
      const keys = [...world.revoked];
      clock.after(random.between(1, 4), "push", () => {
        if (!broker.up || bus.closed) return reject(new SomaError("EIO", "the broker did not answer: see its log"));
        broker.revoke(keys);
        resolve();
      });
    });
  const own = authority(world) as never as Surroundings["registry"] extends never ? never : any;

  const records = await patiently(() => Records.read(world.store.bucket(bus, "system")), crash);
  const announcer = new Announcer(bus);
  const former = records.get("kernel", "kernel");
  if (former !== undefined) {
    own.revoke(former.key);
    const body = { reason: "replaced by its successor", code: null, signal: null, lines: [] };
    announcer.down("kernel", "kernel", former.epoch, body);
  }
  await patiently(push, crash);
  await patiently(() => records.put("kernel", "kernel", { epoch, key, personKey: "person" }), crash);
  bus.on(({ type }) => type === "back" && void push().catch(() => {}));

  const client = new Client(bus);
  const recorder = new Recorder(() => {});
  const leases = new Leases(TICK);
  const registry = new Registry({
    authority: own,
    records,
    push,
    url: () => "",
    grantKey: GRANT_KEY,
    secretsOf: (service) => (service === "auth" ? SECRETS : undefined),
  });
  const apps = new Apps({
    hands,
    client,
    records,
    announcer,
    log: quiet,
    url: () => "",
    root: "apps",
    programs: [],
  } as never);
  const supervision = supervise({
    bus: bus as never as NatsBus,
    sys: sys as never as NatsBus,
    hands,
    registry,
    leases,
    announcer,
    recorder,
    log: quiet,
    apps,
    manifest: loadManifest(),
    account: "SIM",
    env: {},
    relieved: () => false,
    finish: (code) => {
      supervision.close();
      hands.stop(code);
    },
  });
  world.supervision = supervision;
  const grants = new GrantTable(GRANT_KEY, { running: (holder) => server.runningOf(holder) });
  const table = {
    children: supervision.children,
    apps,
    leases,
    launcher: { pid: 1_000_000_000, startedAt: 0 },
    kernel: { epoch },
    broker: () => ({ state: "up" as const, startedAt: 0 }),
    where: supervision.where,
  };
  const handlers = kernelCalls({ bus: bus as never, hands, registry, apps, table, supervision });
  const server: Server = new Server(bus, {
    owner: "kernel",
    instance: "kernel",
    epoch,
    crash,
    authorize: (caller, name, input) => grants.authorize(caller, name, input),
    handlers: world.watched("kernel", {
      ...handlers,
      register: async (input: never, request: never) => {
        const answer = await handlers.register(input, request);
        world.epochs.set((answer as { instance: string }).instance, (answer as { epoch: number }).epoch);
        return answer;
      },
      ...commonHandlers({
        instance: "kernel",
        epoch,
        server: () => server,
        recorder,
        metrics: new Metrics("kernel"),
        state: () => "running",
        figures: () => ({}),
      }),
    } as never) as ServerOptions["handlers"],
  });
  grants.onRevoke((holder) => server.evict(holder));
  await patiently(
    () => world.store.bucket<SignedGrant>(bus, "grants").watch((holder, record) => grants.apply(holder, record)),
    crash,
  );
  server.start();
  await supervision.boot();
}

/** The stores may be away at a start; the product's kernel dies then, and the launcher starts another. */
async function patiently<T>(work: () => Promise<T>, crash: (error: unknown) => never): Promise<T> {
  try {
    return await work();
  } catch (error) {
    return crash(error);
  }
}
