// Owns what the machines' effects do: processes through the launcher, identities, announcements. And what the world tells the machines.
import { setPriority } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type ActorRefFrom, createActor } from "xstate";
import { LIMITS } from "./abi/limits.ts";
import type { Announcer } from "./announce.ts";
import { type ChildContext, type ChildMachine, childMachine, type Exit } from "./child.ts";
import type { Connections } from "./connect.ts";
import type { Hands } from "./hands.ts";
import { Hosts } from "./hosts.ts";
import type { Log } from "./ipc/log.ts";
import type { Recorder } from "./ipc/recorder.ts";
import { type ChildInfo, HOST_BEAT_MS } from "./launcher/protocol.ts";
import { type Leases, type LeaseVerdict, readBeat } from "./leases.ts";
import { type ChildSpec, childrenOf } from "./manifest.ts";
import { patiently } from "./patience.ts";
import type { Registry } from "./registry.ts";
import type { Apps } from "./spawn.ts";
import { supervisorMachine } from "./supervisor.ts";

export type ChildActor = ActorRefFrom<ChildMachine>;

export interface Surroundings extends Pick<Connections, "bus" | "sys"> {
  manifest: readonly ChildSpec[];
  hands: Hands;
  registry: Registry;
  leases: Leases;
  announcer: Announcer;
  recorder: Recorder;
  log: Log;
  apps: Apps;
  /** The account whose connections are watched. */
  account: string;
  /** Environment of every service besides its bootstrap. */
  env: Record<string, string>;
  /** Whether another kernel stands by. */
  relieved: () => boolean;
  finish: (code: number) => void;
}

export type Supervision = ReturnType<typeof supervise>;

/** Wires children and supervisor to the world; `boot` starts or adopts them in order. */
export function supervise(world: Surroundings) {
  const { hands, registry, leases, announcer, log, apps, recorder } = world;
  const now = () => performance.now();
  const environment = { now, random: Math.random };
  const elsewhere = world.manifest.filter(({ place }) => place === "container");
  const hosts = new Hosts(world.bus, elsewhere, now);
  const isElsewhere = (instance: string) => children.get(instance)?.getSnapshot().context.spec.place === "container";
  const children = new Map<string, ChildActor>();
  /** Whose turn to boot has come: elsewhere they start as soon as a launcher is there for them. */
  const wanted = new Set<string>();
  const running = new Map<string, ChildInfo>();

  function tell({ instance, spec, epoch, pid, reason, exit, delay, restarts }: ChildContext, what: string): void {
    const crash = ["crashed", "quarantined", "failed"].includes(what)
      ? { reason: reasonOf(reason, exit), ...exit }
      : {};
    const body = { service: spec.service, instance, epoch, pid, ...(what === "backoff" ? { delay } : {}), ...crash };
    announcer.life(what, body);
    const level = what === "failed" ? "error" : ["crashed", "suspect", "quarantined"].includes(what) ? "warn" : "info";
    log[level]({ ...body, restarts: restarts.length }, `${instance} ${what}`);
    if (spec.place === "container") hosts.tell(instance, what);
  }

  async function launch(instance: string): Promise<void> {
    const actor = children.get(instance)!;
    const { spec } = actor.getSnapshot().context;
    const bootstrap = await patiently(world, () => registry.issue(instance, spec.service, spec.startTimeout));
    const { context, value } = actor.getSnapshot();
    // It was stopped or given up while the broker was away.
    if (value !== "starting" || context.reason !== undefined) return actor.send({ type: "exit", ...NEVER_RAN });
    // Another container has its own environment.
    const env = { ...(spec.place === "here" ? world.env : {}), SOMA_BOOTSTRAP: JSON.stringify(bootstrap) };
    const { entry, memoryMb, place } = spec;
    const order = { id: instance, entry, bundled: true, env, ...(memoryMb === undefined ? {} : { memoryMb }) };
    if (place === "here") hands.start(order);
    else hosts.start({ type: "start", ...order });
  }

  function signal(instance: string, name: NodeJS.Signals): void {
    if (running.has(instance)) (isElsewhere(instance) ? hosts : hands).kill(instance, name);
  }

  function down({ instance, spec, epoch, registered, reason, exit }: ChildContext): void {
    leases.close(instance);
    if (!registered) return;
    const { code = null, signal: name = null, lines = [] } = exit ?? {};
    announcer.down(spec.service, instance, epoch, { reason: reasonOf(reason, exit), code, signal: name, lines });
    void patiently(world, () => registry.down(instance, epoch));
  }

  function make(instance: string, spec: ChildSpec): ChildActor {
    const machine = childMachine(environment).provide({
      actions: {
        launch: () => void launch(instance),
        signal: (_, name) => signal(instance, name),
        down: ({ context }) => down(context),
        life: ({ context }, what) => tell(context, what),
        report: (_, verdict) => supervisor.send({ type: verdict, instance }),
      },
    });
    const actor = createActor(machine, { id: instance, input: { instance, spec }, inspect: recorder.inspect });
    children.set(instance, actor);
    return actor;
  }
  for (const [instance, spec] of childrenOf(world.manifest)) make(instance, spec);

  const supervisor = createActor(
    supervisorMachine({ limit: LIMITS.shutdown + 500 }).provide({
      actions: {
        startChild: (_, instance) => begin(instance),
        stopChild: (_, instance) => children.get(instance)!.send({ type: "stop" }),
        booted: () => {
          announcer.life("booted", {});
          log.info("all services are up");
        },
        endApps: () => apps.endAll(),
        killAll: () => {
          for (const id of running.keys()) (isElsewhere(id) ? hosts : hands).kill(id, "SIGKILL");
        },
        finish: (_, code) => world.finish(code),
      },
    }),
    { id: "supervisor", input: { order: [...children.keys()] }, inspect: recorder.inspect },
  );

  /** Adopts what a former kernel started, or starts it. */
  function begin(instance: string): void {
    const actor = children.get(instance)!;
    const { spec } = actor.getSnapshot().context;
    const record = registry.record(instance);
    const process = running.get(instance);
    wanted.add(instance);
    if (spec.place === "container" && hosts.where(instance) === undefined) {
      // Others of its service are there already: the boot goes on without it, and it starts once it has a launcher.
      if (hosts.serves(spec.service)) actor.send({ type: "stop" });
      return;
    }
    // Somebody had it restarted before its turn.
    if (actor.getSnapshot().value !== "idle") return actor.send({ type: "start" });
    if (process !== undefined) {
      const { epoch, state } = record;
      const [registered, ready] = [state === "registered" || state === "ready", state === "ready"];
      const age = Date.now() - process.startedAt;
      actor.send({ type: "adopt", pid: process.pid, epoch, registered, ready, age });
      if (ready) leases.open(instance, epoch, performance.now());
      return log.info({ instance, epoch, pid: process.pid }, `${instance} adopted`);
    }
    if (record.state === "registered" || record.state === "ready") {
      // It ended while no kernel was there to say so.
      const body = { reason: "it ended while the kernel was away", code: null, signal: null, lines: [] };
      announcer.down(spec.service, instance, record.epoch, body);
    }
    actor.send({ type: "start" });
  }

  function judge(verdict: LeaseVerdict | undefined): void {
    if (verdict === undefined) return;
    const actor = children.get(verdict.instance)!;
    if (verdict.verdict === "dead") actor.send({ type: "condemn", reason: verdict.reason });
    else actor.send({ type: verdict.verdict });
  }

  const started = ({ id, pid }: { id: string; pid: number }) => {
    running.set(id, { id, pid, startedAt: Date.now() });
    const child = children.get(id);
    if (child === undefined) return apps.started(id, pid);
    const { nice, place } = child.getSnapshot().context.spec;
    if (nice > 0 && place === "here") renice(pid, nice);
    child.send({ type: "spawned", pid });
  };
  const exited = ({ id, code, signal: name, lines }: Exit & { id: string }) => {
    running.delete(id);
    const child = children.get(id);
    if (child) child.send({ type: "exit", code, signal: name, lines });
    else apps.exited(id, { code, signal: name, lines });
  };
  hands.on("started", started);
  hosts.on("started", started);
  hosts.on("exited", exited);
  hosts.on("attached", (instance, spec, process) => {
    if (process !== undefined) running.set(instance, process);
    if (!children.has(instance)) {
      make(instance, spec).start();
      supervisor.send({ type: "added", instance });
      wanted.add(instance);
    }
    log.info({ instance, host: hosts.where(instance) }, `${instance} has a launcher`);
    if (wanted.has(instance)) begin(instance);
    for (const other of wanted) if (children.get(other)!.getSnapshot().value === "idle") begin(other);
  });
  hosts.on("detached", (instance, reason) => {
    running.delete(instance);
    const child = children.get(instance)!;
    log.warn({ instance }, reason);
    child.send({ type: "condemn", reason });
    child.send({ type: "stop" });
    child.send({ type: "exit", code: null, signal: null, lines: [reason] });
    void patiently(world, () => registry.fence(instance));
  });
  hands.on("output", ({ id, fd, data }) => apps.output(id, { fd, data: Buffer.from(data, "base64") }));
  hands.on("exited", exited);
  hands.on("refused", ({ order, id, reason }) => {
    // A signal may come too late; all else is our bug.
    log[order === "kill" ? "debug" : "error"]({ order, id }, `the launcher refused: ${reason}`);
    if (order !== "start" || id === undefined) return;
    const exit: Exit = { code: null, signal: null, lines: [reason] };
    const child = children.get(id);
    if (child) child.send({ type: "exit", ...exit });
    else apps.exited(id, exit);
  });
  // This launcher is to end: where another kernel stands by, that is no reason to stop what runs elsewhere.
  hands.on("shutdown", () => (world.relieved() ? world.finish(0) : supervisor.send({ type: "shutdown" })));

  world.bus.subscribe("hb.>", ({ subject, data }) => {
    const [, , instance = "", epoch] = subject.split(".");
    const beat = readBeat(data);
    if (beat === undefined) return log.warn({ instance }, "a heartbeat that nobody understands: dropped");
    judge(leases.beat(instance, Number(epoch), beat, performance.now()));
  });
  world.sys.subscribe(`$SYS.ACCOUNT.${world.account}.DISCONNECT`, ({ data }) => {
    const { client } = JSON.parse(Buffer.from(data).toString()) as { client: { user?: string; name?: string } };
    if (client.name !== undefined) hosts.doubt(client.name);
    for (const instance of children.keys())
      if (registry.record(instance).key === client.user) judge(leases.doubt(instance));
  });
  world.bus.on(({ type }) => {
    if (type === "back") leases.extendAll(performance.now());
  });
  let tickedAt = now();
  const ticking = setInterval(() => {
    hosts.tick(world.bus.connected, Math.max(0, now() - tickedAt - TICK));
    tickedAt = now();
    for (const verdict of leases.tick(performance.now(), world.bus.connected)) judge(verdict);
  }, TICK);

  return {
    supervisor,
    children,
    /** Takes up from what runs: children adopted or started in order, apps that are left. */
    async boot(): Promise<void> {
      // What launchers elsewhere run is heard with their next beats.
      if (elsewhere.length > 0) await sleep(2 * HOST_BEAT_MS);
      for (const info of await hands.list()) running.set(info.id, info);
      for (const child of children.values()) child.start();
      for (const info of running.values()) if (!children.has(info.id)) await apps.adopt(info);
      await apps.forget((id) => running.has(id));
      supervisor.start();
      supervisor.send({ type: "boot" });
    },
    registered: (instance: string, epoch: number) => children.get(instance)!.send({ type: "registered", epoch }),
    ready(instance: string, epoch: number): void {
      leases.open(instance, epoch, performance.now());
      children.get(instance)?.send({ type: "ready" });
    },
    where: (instance: string) => hosts.where(instance),
    shutdown: () => supervisor.send({ type: "shutdown" }),
    close: () => clearInterval(ticking),
  };
}

/** ms between looks at the leases. */
export const TICK = 250;

const NEVER_RAN: Exit = { code: 0, signal: null, lines: [] };

function reasonOf(reason: string | undefined, exit: Exit | undefined): string {
  return reason ?? (exit?.signal ? `killed by ${exit.signal}` : `exited with code ${exit?.code ?? "none"}`);
}

function renice(pid: number, nice: number): void {
  try {
    setPriority(pid, nice);
  } catch (error) {
    // It may have ended already; then its exit is on the way.
    if ((error as { info?: { code?: string } }).info?.code !== "ESRCH") throw error;
  }
}
