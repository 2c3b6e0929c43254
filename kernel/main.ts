// Owns the kernel process: boots in order, and is replaced by the launcher when it dies. Mechanism only.
import { statSync } from "node:fs";
import { join } from "node:path";
import { APP_ROLE } from "./abi/rights.ts";
import { Announcer } from "./announce.ts";
import { storageOf } from "./broker/config.ts";
import { kernelCalls } from "./calls.ts";
import { connectKernel } from "./connect.ts";
import { supervise, TICK } from "./effects.ts";
import { removeSystemFile, version, writePersonFile, writeSystemFile } from "./files.ts";
import { Hands } from "./hands.ts";
import { Client } from "./ipc/client.ts";
import { commonHandlers } from "./ipc/common.ts";
import { GrantTable } from "./ipc/grants.ts";
import { about, createLog } from "./ipc/log.ts";
import { countCalls, Metrics, readProcess } from "./ipc/metrics.ts";
import { Recorder } from "./ipc/recorder.ts";
import type { Request } from "./ipc/request.ts";
import { Server, type ServerOptions } from "./ipc/server.ts";
import { createAudit, createTracer, endTrace } from "./ipc/service.ts";
import { createStores } from "./ipc/stores.ts";
import { Authority } from "./keys/authority.ts";
import { keptKey } from "./keys/kept.ts";
import { replaceText } from "./launcher/file.ts";
import { openHome } from "./launcher/home.ts";
import { ROOT } from "./launcher/node.ts";
import { Leases } from "./leases.ts";
import { loadManifest } from "./manifest.ts";
import { readProcesses } from "./metrics.ts";
import { patiently } from "./patience.ts";
import { Records } from "./records.ts";
import { Registry } from "./registry.ts";
import { Apps } from "./spawn.ts";
import { Tenure } from "./standby.ts";

// The launcher: it forks and kills for us, and told us where the broker is.
const home = openHome();
const hands = new Hands(process);
const launcher = { pid: process.ppid, startedAt: statSync(join(home.run, "pid")).mtimeMs };
let broker = await hands.broker();
hands.on("broker", (report) => {
  broker = report;
});
const url = () => broker.url;
hands.beat();

// The root of trust, and our own connections. Only where the broker is not our launcher's own may there be another kernel.
const shared = broker.pid === undefined;
let tenure: Tenure | undefined;
const owned = () => (tenure ? tenure.held : !shared);
// Of brokers that keep each stream.
const replicas = Number(process.env.SOMA_REPLICAS || 1);
const authority = new Authority(home.keys, { storage: storageOf(replicas), owned });
const { bus, key, sys, push } = await connectKernel(authority, url());
const log = createLog("kernel", bus);
const crash = (error: unknown, request?: Request): never => {
  log.fatal({ err: error, ...(request && about(request)) }, "crashed");
  process.exit(70);
};
process.on("uncaughtException", (error) => crash(error));
process.on("unhandledRejection", (error) => crash(error));
// The launcher starts another one; to stop the system it sends us `shutdown`.
process.on("SIGTERM", () => process.exit(0));
process.on("SIGINT", () => {});
bus.on(({ type }) => type === "closed" && crash(new Error("the broker closed our connection: another kernel runs")));

// Of several kernels one is active, the others wait here.
const store = { bus, log };
if (shared) {
  await patiently(store, () => createStores(bus, replicas, ["system"]));
  tenure = new Tenure({ bus, log, home, lost: () => crash(new Error("another kernel has taken over")) });
  await tenure.win(() => void standBy());
  hands.off("shutdown", leave);
  say("starting");
  authority.reread();
}

// What outlives us: stores, and records of former kernels.
const appSigner = authority.role("app", APP_ROLE);
const grantSigner = keptKey(home.keys, "grants", "account");
await patiently(store, () => createStores(bus, replicas));
const records = await patiently(store, () => Records.open(bus));
const announcer = new Announcer(bus);
const former = records.get("kernel", "kernel");
const epoch = (former?.epoch ?? 0) + 1;
const personKey = writePersonFile(home, authority);
if (former !== undefined) {
  // A former kernel that hangs must not speak again; nor a person whose credential was taken away.
  authority.revoke(former.key);
  if (former.personKey !== personKey) authority.revoke(former.personKey);
  const body = { reason: "replaced by its successor", code: null, signal: null, lines: [] };
  announcer.down("kernel", "kernel", former.epoch, body);
}
await patiently(store, push);
await patiently(store, () => records.put("kernel", "kernel", { epoch, key, personKey }));
bus.on(({ type }) => type === "back" && void push().catch((error) => log.error({ err: error }, "account not pushed")));

// The parts.
const client = new Client(bus);
const recorder = new Recorder((transition) => announcer.event("transition", transition));
const leases = new Leases(TICK);
const registry = new Registry({
  authority,
  records,
  push,
  url,
  grantKey: grantSigner.publicKey,
  secretsOf: (service) =>
    service === "auth"
      ? { account: authority.account, appSeed: appSigner.seed, grantSeed: grantSigner.seed }
      : undefined,
});
const apps = new Apps({
  hands,
  client,
  records,
  announcer,
  log,
  url,
  root: join(ROOT, "apps"),
  programs: join(home.run, "apps"),
});
const supervision = supervise({
  bus,
  sys,
  hands,
  registry,
  leases,
  announcer,
  recorder,
  log,
  apps,
  manifest: loadManifest(process.env.SOMA_MANIFEST),
  account: authority.account,
  env: serviceEnvironment(),
  relieved: () => tenure?.relieved ?? false,
  finish: (code) => void finish(code),
});

// The calls.
const grants = new GrantTable(grantSigner.publicKey, { running: (holder) => server.runningOf(holder) });
const audit = createAudit({ bus, instance: "kernel", epoch, grants, log });
const otlp = process.env.OTEL_EXPORTER_OTLP_ENDPOINT || process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
// Some 100 ms of loading that only those pay who ask for it.
const exporter = otlp ? (await import("./otlp.ts")).exportTraces(bus, version()) : undefined;
const tracer = createTracer(bus, "kernel", epoch);
const table = {
  children: supervision.children,
  apps,
  leases,
  launcher,
  kernel: { epoch },
  broker: () => broker,
  where: supervision.where,
};
const metrics = new Metrics("kernel");
const { called, refused } = countCalls(metrics, "kernel");
const server: Server = new Server(bus, {
  owner: "kernel",
  instance: "kernel",
  epoch,
  crash,
  audit,
  tracer,
  refused,
  observe: (request, { code, ms }) => {
    endTrace("kernel", request, code);
    called(request, code, ms);
  },
  authorize: (caller, name, input) => grants.authorize(caller, name, input),
  handlers: {
    ...kernelCalls({ bus, hands, registry, apps, table, supervision }),
    ...commonHandlers({
      instance: "kernel",
      epoch,
      server: () => server,
      recorder,
      metrics,
      state: () => supervision.supervisor.getSnapshot().value,
      figures: () => ({
        children: supervision.children.size,
        apps: apps.all().length,
        grants: grants.size,
        forged: grants.forged,
        ...audit.figures(),
        spansLost: tracer.lost,
      }),
    }),
  } as ServerOptions["handlers"],
});
readProcess(metrics, {
  epoch,
  inflight: () => server.inflight,
  spansLost: () => tracer.lost,
  auditWaiting: () => audit.figures().auditWaiting,
});
readProcesses(metrics, supervision.children, leases);
grants.onRevoke((holder) => server.evict(holder));
await grants.follow(bus);
server.start();
await bus.flush();
writeSystemFile(home, { url: url(), pid: launcher.pid, version: version() });
log.info({ epoch }, "kernel started");

// The children, in order.
await supervision.boot();

/** How long the last spans may take to be exported, ms. */
const LAST_SPANS = 500;

/** The end of everything, after all children have stopped; or ours alone, when another kernel takes them over. */
async function finish(code: number): Promise<void> {
  supervision.close();
  removeSystemFile(home);
  announcer.life("stopped", { code });
  log.info({ code }, "stopped");
  await server.drain(500);
  tracer.flush();
  await Promise.race([exporter?.stop(), new Promise((resolve) => setTimeout(resolve, LAST_SPANS))]);
  await audit.close(500);
  await tenure?.resign();
  hands.stop(code);
}

/** Another kernel is active. What our launcher still runs is of a kernel that was succeeded. */
async function standBy(): Promise<void> {
  removeSystemFile(home);
  say("waiting");
  hands.on("shutdown", leave);
  log.info("standing by: another kernel is active");
  for (const { id } of await hands.list()) hands.kill(id, "SIGKILL");
}

function leave(): void {
  hands.stop(0);
}

/** Read by health.mjs, besides run/system.json. */
function say(state: string): void {
  replaceText(join(home.run, "health"), `${state}\n`);
}

/** What services see of our environment. */
function serviceEnvironment(): Record<string, string> {
  // The HF_ ones are for the model service's pull; apps get none of these.
  const ours = (name: string) => /^SOMA_|^HF_(ENDPOINT|TOKEN)$/.test(name) && name !== "SOMA_MANIFEST";
  const passed = Object.entries(process.env).filter(([name]) => ours(name));
  return { ...(Object.fromEntries(passed) as Record<string, string>), SOMA_HOME: home.root };
}
