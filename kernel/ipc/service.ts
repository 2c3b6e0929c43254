// Owns the life of every service process: register, connect, serve, beat, drain, exit. A crash is an exit code, and supervision restarts it.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { encode } from "../abi/codec.ts";
import { SomaError } from "../abi/errors.ts";
import type { Principal } from "../abi/headers.ts";
import { LIMITS } from "../abi/limits.ts";
import type { Owner, Service } from "../abi/names.ts";
import { subjects } from "../abi/subjects.ts";
import { Audit } from "./audit.ts";
import { NatsBus } from "./bus.ts";
import { Client } from "./client.ts";
import { commonHandlers } from "./common.ts";
import { GrantTable } from "./grants.ts";
import { type Identity, register, takeBootstrap } from "./identity.ts";
import { about, createLog, type Log } from "./log.ts";
import { countCalls, Metrics, readProcess } from "./metrics.ts";
import { Recorder } from "./recorder.ts";
import type { Request } from "./request.ts";
import { type Handlers, Server } from "./server.ts";
import { append } from "./store.ts";
import { Tracer, traceRatio } from "./trace.ts";

export interface Context {
  bus: NatsBus;
  client: Client;
  server: Server;
  recorder: Recorder;
  log: Log;
  /** For spans outside of a request of this process; those within one are for `request.trace`. */
  tracer: Tracer;
  /** What this process counts and measures, after the table in kernel/abi/metrics.ts. */
  metrics: Metrics;
  instance: string;
  epoch: number;
  identity: Identity;
  /** Who may do what; checks apps at the door by itself. */
  grants: GrantTable;
  url: string;
  /** Publishes `evt.<instance>.<topic>`. */
  event: (topic: string, body: unknown) => void;
  /** Our bug: says why, and ends the process. */
  crash: (error: unknown) => never;
}

export interface Running<S extends Service> {
  handlers: Handlers<S>;
  /** For `stat` and `soma stat`. */
  figures?: () => Record<string, unknown>;
  /** State of the root machine, for `stat`. */
  state?: () => unknown;
  /** Instead of the grant table. */
  authorize?: (caller: string, name: string, input: unknown) => Principal;
  observe?: (request: Request, outcome: { code: string; ms: number; output?: unknown }) => void;
  /** Called after the last reply, before the connection closes. */
  stop?: () => Promise<void> | void;
}

/** Runs a service until SIGTERM. `start` builds it; calls arrive only after it returned. */
export async function runService<S extends Service>(
  service: S,
  start: (context: Context) => Promise<Running<S>>,
): Promise<void> {
  const bootstrap = takeBootstrap();
  const identity = await register(bootstrap);
  const { instance, epoch } = identity;
  const bus = await NatsBus.connect({
    url: bootstrap.url,
    name: instance,
    jwt: () => identity.jwt,
    seed: identity.seed,
  });
  const log = createLog(instance, bus, { epoch });
  const crash = (error: unknown, request?: Request): never => {
    log.fatal({ err: error, ...(request && about(request)) }, "crashed");
    process.exit(70);
  };
  process.on("uncaughtException", (error) => crash(error));
  process.on("unhandledRejection", (error) => crash(error));
  const event = (topic: string, body: unknown) => {
    if (bus.connected) bus.publish(subjects.event(instance, topic), encode(body));
  };
  const recorder = new Recorder((transition) => event("transition", transition));
  const client = new Client(bus);
  const handlers: Record<string, (input: any, request: Request) => unknown> = {};
  let running: Running<S> | undefined;
  const grants = new GrantTable(identity.grantKey, {
    running: (holder) => server.runningOf(holder),
    soonest: (holders) => server.soonest(holders),
  });
  const audit = createAudit({ bus, instance, epoch, grants, log });
  const tracer = createTracer(bus, instance, epoch);
  const metrics = new Metrics(instance);
  const { called, refused } = countCalls(metrics, service);
  const server: Server = new Server(bus, {
    owner: service,
    audit,
    tracer,
    instance,
    epoch,
    handlers,
    crash,
    authorize: (caller, name, input) => (running?.authorize ?? grants.authorize.bind(grants))(caller, name, input),
    refused,
    observe: (request, outcome) => {
      endTrace(service, request, outcome.code);
      called(request, outcome.code, outcome.ms);
      if (log.isLevelEnabled("debug")) log.debug({ ...about(request), code: outcome.code, ms: outcome.ms }, "answered");
      running?.observe?.(request, outcome);
    },
    ...(service === "model" || service === "scheduler"
      ? { mailbox: LIMITS.streamMailbox, mailboxPerCaller: LIMITS.streamMailboxPerCaller }
      : {}),
  });
  readProcess(metrics, {
    epoch,
    inflight: () => server.inflight,
    spansLost: () => tracer.lost,
    auditWaiting: () => audit.figures().auditWaiting,
  });
  grants.onRevoke((holder) => server.evict(holder));
  if (identity.grantKey !== undefined) await grants.follow(bus);
  running = await start({
    bus,
    client,
    server,
    recorder,
    log,
    tracer,
    metrics,
    instance,
    epoch,
    identity,
    grants,
    url: bootstrap.url,
    event,
    crash,
  });
  Object.assign(
    handlers,
    running.handlers,
    commonHandlers({
      instance,
      epoch,
      server: () => server,
      recorder,
      metrics,
      state: () => running?.state?.() ?? "ready",
      figures: () => ({ ...audit.figures(), spansLost: tracer.lost, ...running?.figures?.() }),
    }),
  );
  server.start();
  const stopBeating = beat(bus, server, service, instance, epoch);
  await client.call("kernel.ready", { epoch });
  log.info("ready");

  let stopping = false;
  const stop = async () => {
    stopping = true;
    log.info("stopping");
    stopBeating();
    await server.drain(LIMITS.shutdown - 1_000);
    await running?.stop?.();
    tracer.flush();
    await audit.close(LAST_RECORD);
    await bus.close();
    process.exit(0);
  };
  process.once("SIGTERM", () => void stop().catch((error) => crash(error)));
  // Ctrl-C reaches the whole group; the launcher stops us in order.
  process.on("SIGINT", () => {});
  bus.on((busEvent) => {
    // A revoked key means that a successor has our name: stop at once, write nothing more.
    if (busEvent.type === "closed" && !stopping) process.exit(75);
  });
}

/** How long the end of a chain may take to be stored, in ms. */
const LAST_RECORD = 500;

/** The audit of one server, on the stream. For services and the kernel. */
export function createAudit(parts: { bus: NatsBus; instance: string; epoch: number; grants: GrantTable; log: Log }) {
  const { bus, instance, epoch, grants, log } = parts;
  return new Audit({
    instance,
    epoch,
    store: async (batch, id) => {
      if (!bus.connected) throw new SomaError("EIO", "the broker is away", { executed: "no" });
      await append(bus, subjects.audit(instance, epoch), batch, id);
    },
    storesPrompts: (holder) => grants.find(holder)?.caveats.storePrompts === true,
    warn: (error) => log.warn({ err: error }, "the audit waits to be stored"),
  });
}

/** The tracer of one server: spans go to the stream `spans`. For services and the kernel. */
export function createTracer(bus: NatsBus, actor: string, epoch: number): Tracer {
  return new Tracer({
    ...{ actor, epoch, ratio: traceRatio(process.env.SOMA_TRACE) },
    publish: (spans) => {
      if (bus.connected) bus.publish(subjects.event(actor, "spans"), encode(spans));
    },
  });
}

/** The span of a request that has its outcome. */
export function endTrace(owner: Owner, { trace, call, startedAt, id, caller, principal }: Request, code: string): void {
  trace?.end(`${owner}.${call}`, startedAt, { code, id, caller, principal: principal.principal });
}

/** The lease. Sent from the same event loop turn that takes requests, so a blocked mailbox does not beat. */
function beat(bus: NatsBus, server: Server, service: string, instance: string, epoch: number): () => void {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const send = () => {
    if (!bus.connected) return;
    bus.publish(
      subjects.heartbeat(service, instance, epoch),
      encode({
        pid: process.pid,
        inflight: server.inflight,
        served: server.served,
        overdueMs: server.overdueMs,
        lagMs: delay.max / 1e6,
        rssBytes: process.memoryUsage.rss(),
        cpuMs: process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000,
      }),
    );
    delay.reset();
  };
  send();
  const timer = setInterval(send, LIMITS.heartbeat);
  return () => clearInterval(timer);
}
