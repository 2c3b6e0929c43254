// Owns the launchers in containers of their own: which there are, which instance each one runs, orders to them, their reports.
import { EventEmitter } from "node:events";
import { LIMITS } from "./abi/limits.ts";
import { instanceName, type Service } from "./abi/names.ts";
import { subjects } from "./abi/subjects.ts";
import type { Bus } from "./ipc/bus.ts";
import type { ChildInfo, HostOrder, HostReport, StartOrder } from "./launcher/protocol.ts";
import type { ChildSpec } from "./manifest.ts";

type Order = HostOrder["order"];
type Exited = Extract<HostReport, { type: "exited" }>;
type Here = Extract<HostReport, { type: "here" }>;

interface Events {
  /** A launcher is there for the instance; `process` is what it runs already, started by a former kernel. */
  attached: [instance: string, spec: ChildSpec, process: ChildInfo | undefined];
  /** It is gone, and its child with it; `why` is for people. */
  detached: [instance: string, why: string];
  started: [started: { id: string; pid: number }];
  exited: [exited: Omit<Exited, "type" | "pid">];
}

interface Host {
  id: string;
  spec: ChildSpec;
  hostname: string;
  /** What it runs; undefined while it stands by. */
  instance: string | undefined;
  /** Of its child, as far as we were told. */
  pid: number | undefined;
  seenAt: number;
  /** Its connection was closed: it has DOUBT_MS to come back. */
  doubted: boolean;
  /** Number of the last order, and those that it has not taken yet. */
  n: number;
  pending: HostOrder[];
}

/** A launcher that is silent for so long is gone; sooner when its connection was lost, too. */
const SILENT_MS = LIMITS.deadAfter;
const DOUBT_MS = 1_200;

export class Hosts extends EventEmitter<Events> {
  readonly #hosts = new Map<string, Host>();
  readonly #specs: ReadonlyMap<string, ChildSpec>;

  /** Takes what launchers say from here on. `specs`: the services that run elsewhere. */
  constructor(
    private readonly bus: Bus,
    specs: readonly ChildSpec[],
    private readonly now: () => number,
  ) {
    super();
    this.#specs = new Map(specs.map((spec) => [spec.service, spec]));
    if (specs.length === 0) return;
    bus.subscribe(subjects.report("*", "*"), ({ subject, data }) => {
      const [, service = "", id = ""] = subject.split(".");
      this.#heard(service, id, JSON.parse(Buffer.from(data).toString()) as HostReport);
    });
  }

  /** Where the instance runs, for people; undefined while no launcher is there for it. */
  where(instance: string): string | undefined {
    return this.#of(instance)?.hostname;
  }

  /** Whether some instance of the service has a launcher. */
  serves(service: string): boolean {
    return [...this.#hosts.values()].some(({ spec, instance }) => spec.service === service && instance !== undefined);
  }

  start(order: StartOrder): void {
    this.#send(order.id, order);
  }

  kill(id: string, signal: NodeJS.Signals): void {
    this.#send(id, { type: "kill", id, signal });
  }

  /** Tells the container's health check what supervision thinks of its service. */
  tell(instance: string, state: string): void {
    this.#send(instance, { type: "state", state });
  }

  /** The broker closed a connection of that name: if it is a launcher's, one more sign and it is gone. */
  doubt(name: string): void {
    const host = this.#hosts.get(name);
    if (host) host.doubted = true;
  }

  /** Looks who is silent; to be called several times a second while the broker is there, with `lag` ms of our own. */
  tick(connected: boolean, lag: number): void {
    for (const host of this.#hosts.values()) {
      host.seenAt = connected ? host.seenAt + lag : this.now();
      const silent = this.now() - host.seenAt;
      if (silent >= (host.doubted ? DOUBT_MS : SILENT_MS)) this.#gone(host, `its container ${host.hostname} is silent`);
    }
  }

  #of(instance: string): Host | undefined {
    return [...this.#hosts.values()].find((host) => host.instance === instance);
  }

  /** Nothing for an instance without a launcher: its child is told that it ended. */
  #send(instance: string, order: Order): void {
    const host = this.#of(instance);
    if (!host) return;
    const numbered = { n: ++host.n, order };
    host.pending.push(numbered);
    this.#publish(host, numbered);
  }

  #publish({ spec, id }: Host, order: HostOrder): void {
    if (this.bus.connected) this.bus.publish(subjects.order(spec.service, id), Buffer.from(JSON.stringify(order)));
  }

  #heard(service: string, id: string, report: HostReport): void {
    const host = this.#hosts.get(id);
    if (report.type === "here") return host ? this.#here(host, report) : this.#joined(service, id, report);
    if (!host) return;
    host.seenAt = this.now();
    switch (report.type) {
      case "started":
        host.pid = report.pid;
        return void this.emit("started", report);
      case "exited":
        host.pid = undefined;
        return void this.emit("exited", report);
      case "refused":
        // A signal may come too late; a start that is refused has failed.
        if (report.order === "start") this.#exit(host, report.reason);
        return;
      case "leaving":
        return this.#gone(host, `its container ${host.hostname} stops`);
    }
  }

  #joined(service: string, id: string, { hostname, took, children }: Here): void {
    const spec = this.#specs.get(service);
    if (!spec) return;
    const seenAt = this.now();
    const [child] = children;
    const free = child === undefined || this.#of(child.id) !== undefined ? this.#free(spec) : child.id;
    const process = child?.id === free ? child : undefined;
    const host: Host = {
      ...{ id, spec, hostname, seenAt, pid: process?.pid, doubted: false, n: took, pending: [], instance: free },
    };
    this.#hosts.set(id, host);
    if (free !== undefined) this.emit("attached", free, spec, process);
  }

  #here(host: Host, { took, children }: Here): void {
    host.seenAt = this.now();
    host.doubted = false;
    host.pending = host.pending.filter(({ n }) => n > took);
    for (const order of host.pending) this.#publish(host, order);
    // What it said of its child may have been lost; what it will say of an order that it has not taken is not said yet.
    if (host.pending.length > 0 || host.instance === undefined) return;
    const child = children.find(({ id }) => id === host.instance);
    if (child !== undefined && child.pid !== host.pid) {
      host.pid = child.pid;
      this.emit("started", child);
    } else if (child === undefined && host.pid !== undefined) this.#exit(host, "it ended while the broker was away");
  }

  #exit(host: Host, line: string): void {
    host.pid = undefined;
    if (host.instance !== undefined)
      this.emit("exited", { id: host.instance, code: null, signal: null, lines: [line] });
  }

  #gone(host: Host, why: string): void {
    this.#hosts.delete(host.id);
    const { instance, spec } = host;
    if (instance === undefined) return;
    this.emit("detached", instance, why);
    const spare = [...this.#hosts.values()].find((one) => one.spec === spec && one.instance === undefined);
    if (!spare) return;
    spare.instance = instance;
    this.emit("attached", instance, spec, undefined);
  }

  /** The first instance of the service that nobody runs. */
  #free({ service, instances, most }: ChildSpec): string | undefined {
    const names = Array.from({ length: Math.max(instances, most) }, (_, i) => instanceName(service as Service, i + 1));
    return names.find((name) => this.#of(name) === undefined);
  }
}
