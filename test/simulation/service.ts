// Owns the life of a simulated service process, step by step as kernel/ipc/service.ts lives it: register, connect, serve, beat, drain, exit.
import { encode } from "../../kernel/abi/codec.ts";
import { SomaError } from "../../kernel/abi/errors.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { type Service, serviceOf } from "../../kernel/abi/names.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { commonHandlers } from "../../kernel/ipc/common.ts";
import { GrantTable, type SignedGrant } from "../../kernel/ipc/grants.ts";
import type { Bootstrap } from "../../kernel/ipc/identity.ts";
import { Metrics } from "../../kernel/ipc/metrics.ts";
import { Recorder } from "../../kernel/ipc/recorder.ts";
import { Server } from "../../kernel/ipc/server.ts";
import type { Context, Running } from "../../kernel/ipc/service.ts";
import { Tracer } from "../../kernel/ipc/trace.ts";
import type { SimBus } from "./broker.ts";
import { quiet } from "./log.ts";
import { Exit, type Process, type World } from "./world.ts";

export interface SimContext extends Omit<Context, "bus"> {
  bus: SimBus;
  world: World;
  /** Of the store, under this identity. */
  bucket: <T>(name: string) => ReturnType<World["store"]["bucket"]> & { readonly type?: T };
}

export type Start = (context: SimContext) => Promise<Pick<Running<Service>, "handlers" | "observe" | "stop">>;

/** A service's process in the simulation; `start` wires the product's parts. */
export function serviceProgram(start: Start) {
  return async (world: World, process: Process): Promise<void> => {
    const bootstrap = JSON.parse(process.env.SOMA_BOOTSTRAP!) as Bootstrap;
    const exit = (code: number): never => {
      world.end(process, code, null);
      throw new Exit(code);
    };
    const crash = (error: unknown): never => {
      if (!(error instanceof SomaError) && !(error instanceof Exit)) world.bug(error);
      return exit(70);
    };
    try {
      await live(world, process, bootstrap, start, crash, exit);
    } catch (error) {
      crash(error);
    }
  };
}

async function live(
  world: World,
  process: Process,
  bootstrap: Bootstrap,
  start: Start,
  crash: (error: unknown) => never,
  exit: (code: number) => never,
): Promise<void> {
  const service = bootstrap.service as Service;
  const key = world.key();
  if (!world.broker.up) exit(70);
  const boot = world.connect(process, JSON.parse(bootstrap.jwt));
  const { instance, epoch, jwt, grantKey, secrets } = await new Client(boot).call(
    "kernel.register",
    { service, publicKey: key.publicKey, pid: process.pid, abi: 1 },
    { ttl: 10_000 },
  );
  await boot.close();
  const token = { ...JSON.parse(jwt), epoch };
  if (!world.broker.up || world.broker.revoked.has(token.publicKey)) exit(70);
  const bus = world.connect(process, token);
  const client = new Client(bus);
  const recorder = new Recorder(() => {});
  const grants = new GrantTable(grantKey, { running: (holder) => server.runningOf(holder) });
  const handlers: Record<string, (input: any, request: any) => unknown> = {};
  const metrics = new Metrics(instance);
  const server: Server = new Server(bus, {
    owner: service,
    instance,
    epoch,
    handlers,
    crash,
    authorize: (caller, name, input) => grants.authorize(caller, name, input),
    observe: (request, outcome) => running?.observe?.(request, outcome),
    ...(service === "model" || service === "scheduler"
      ? { mailbox: LIMITS.streamMailbox, mailboxPerCaller: LIMITS.streamMailboxPerCaller }
      : {}),
  });
  let running: Awaited<ReturnType<Start>> | undefined;
  grants.onRevoke((holder) => server.evict(holder));
  await world.store.bucket<SignedGrant>(bus, "grants").watch((holder, record) => grants.apply(holder, record));
  running = await start({
    world,
    bus,
    client,
    server,
    recorder,
    log: quiet,
    tracer: new Tracer({ actor: instance, epoch, ratio: 0, publish: () => {} }),
    metrics,
    instance,
    epoch,
    identity: { instance, epoch, jwt, seed: key.seed, secrets: secrets ?? {} },
    grants,
    url: "",
    event: (topic, body) => {
      if (bus.connected) bus.publish(subjects.event(instance, topic), encode(body));
    },
    crash,
    bucket: (name) => world.store.bucket(bus, name) as never,
  });
  const common = {
    instance,
    epoch,
    server: () => server,
    recorder,
    metrics,
    state: () => "ready",
    figures: () => ({}),
  };
  Object.assign(handlers, world.watched(serviceOf(instance)!, running.handlers as never), commonHandlers(common));
  server.start();
  const beat = () => {
    if (!bus.connected) return;
    const { overdueMs, inflight, served } = server;
    bus.publish(subjects.heartbeat(service, instance, epoch), encode({ overdueMs, inflight, served }));
  };
  beat();
  const beating = setInterval(beat, LIMITS.heartbeat);
  let stopping = false;
  process.onTerm = () => {
    const stop = async () => {
      stopping = true;
      clearInterval(beating);
      await server.drain(LIMITS.shutdown - 1_000);
      await running?.stop?.();
      await bus.close();
      exit(0);
    };
    void stop().catch((error) => {
      if (!(error instanceof Exit)) crash(error);
    });
  };
  bus.on(({ type }) => {
    if (type === "closed" && !stopping) world.end(process, 75, null);
  });
  await client.call("kernel.ready", { epoch });
}
