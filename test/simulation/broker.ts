// Owns the simulated broker: connections with permissions, subjects, queue groups, its own restarts, and what goes wrong with messages.
import type { Permissions } from "../../kernel/abi/rights.ts";
import type { Bus, BusEvent, Headers, Message, Subscription } from "../../kernel/ipc/bus.ts";
import type { Clock, Owner } from "./clock.ts";
import type { Random } from "./random.ts";

/** What a credential says; the token is its JSON, for the simulation trusts its own signatures. */
export interface Token {
  name: string;
  publicKey: string;
  /** Absent: everything. */
  permissions?: Permissions;
}

/** Probabilities of what may happen to one message, and ms of an extra delay. */
export interface Weather {
  drop: number;
  duplicate: number;
  delay: number;
  delayMs: number;
  reorder: number;
}

/** Simulated ms in which messages are counted. */
const WINDOW_MS = 100;

export const CALM: Weather = { drop: 0, duplicate: 0, delay: 0, delayMs: 0, reorder: 0 };

interface Listener {
  tokens: string[];
  queue: string | undefined;
  bus: SimBus;
  callback: (message: Message) => void;
}

export class Broker {
  up = true;
  weather = CALM;
  /** Who said most within a window, and how much that was. */
  busiest = { name: "", messages: 0 };
  /** Public keys that are void. */
  readonly revoked = new Set<string>();
  private readonly buses = new Set<SimBus>();
  private listeners: Listener[] = [];

  constructor(
    readonly clock: Clock,
    readonly random: Random,
    /** Told of each fault that struck. */
    private readonly struck: (kind: string) => void,
    /** Told of each message that is published, and whether it is taken. */
    private readonly published: (bus: SimBus, subject: string, taken: boolean) => void,
  ) {}

  connect(owner: Owner, token: Token): SimBus {
    if (!this.up || this.revoked.has(token.publicKey)) throw new Error(`the broker does not take ${token.name} in`);
    const bus = new SimBus(this, owner, token);
    this.buses.add(bus);
    return bus;
  }

  /** Ends connections whose key became void. */
  revoke(keys: Iterable<string>): void {
    for (const key of keys) this.revoked.add(key);
    for (const bus of [...this.buses]) if (this.revoked.has(bus.token.publicKey)) this.drop(bus, { type: "closed" });
  }

  /** A process has ended, or its bus was closed. */
  forget(bus: SimBus): void {
    if (!this.buses.delete(bus)) return;
    this.listeners = this.listeners.filter((listener) => listener.bus !== bus);
    const body = Buffer.from(JSON.stringify({ client: { user: bus.token.publicKey } }));
    this.clock.after(
      this.random.between(1, 8),
      "disconnect",
      () => this.route("$SYS.ACCOUNT.SIM.DISCONNECT", body),
      null,
    );
  }

  of(owner: Owner): SimBus[] {
    return [...this.buses].filter((bus) => bus.owner === owner);
  }

  /** kill -9 and a start after `ms`: all connections are lost, and what was on its way with them; what was stored is not. */
  restart(ms: number): void {
    this.up = false;
    this.clock.note("broker down");
    for (const bus of this.buses) {
      bus.connected = false;
      bus.generation += 1;
      this.tell(bus, { type: "lost" }, this.random.between(0, 3));
    }
    this.clock.after(
      ms,
      "broker up",
      () => {
        this.up = true;
        for (const bus of this.buses)
          this.clock.after(this.random.between(5, 150), "reconnect", () => this.reconnect(bus), null);
      },
      null,
    );
  }

  private reconnect(bus: SimBus): void {
    if (!this.up || !this.buses.has(bus) || bus.connected) return;
    // A process that stands still connects when it goes on.
    if (bus.owner.paused) return void this.clock.after(50, "reconnect", () => this.reconnect(bus), null);
    if (this.revoked.has(bus.token.publicKey)) return this.drop(bus, { type: "closed" });
    bus.connected = true;
    this.tell(bus, { type: "back" }, 0);
  }

  private drop(bus: SimBus, event: BusEvent): void {
    this.forget(bus);
    bus.closed = true;
    // Until it hears of that, it writes on.
    this.clock.after(
      this.random.between(0, 30),
      "bus closed",
      () => {
        bus.connected = false;
        bus.emit(event);
      },
      bus.owner,
    );
  }

  private tell(bus: SimBus, event: BusEvent, ms: number): void {
    this.clock.after(ms, `bus ${event.type}`, () => bus.emit(event), bus.owner);
  }

  listen(listener: Listener): Subscription {
    this.listeners.push(listener);
    const stop = () => {
      this.listeners = this.listeners.filter((other) => other !== listener);
    };
    return { unsubscribe: stop, drain: async () => stop() };
  }

  publish(bus: SimBus, subject: string, data: Uint8Array, headers: Headers | undefined, reply: string): void {
    this.clock.note(`> ${bus.name} ${subject}`);
    const window = Math.floor(this.clock.now / WINDOW_MS);
    bus.said = { window, messages: bus.said.window === window ? bus.said.messages + 1 : 1 };
    if (bus.said.messages > this.busiest.messages) this.busiest = { name: bus.name, messages: bus.said.messages };
    const taken = !bus.closed && !this.revoked.has(bus.token.publicKey);
    this.published(bus, subject, taken);
    if (!taken) return;
    if (!allowed(bus.token.permissions, subject))
      return this.tell(bus, { type: "denied", operation: "publish", subject }, 1);
    this.route(subject, data, headers, reply);
  }

  private route(subject: string, data: Uint8Array, headers: Headers = {}, reply = ""): void {
    if (!this.up) return;
    const tokens = subject.split(".");
    // Who has not connected again yet has no subscription at the broker.
    const found = this.listeners.filter(({ bus, tokens: wanted }) => bus.connected && matches(wanted, tokens));
    const groups = new Map<string, Listener[]>();
    const chosen: Listener[] = [];
    for (const listener of found) {
      if (listener.queue === undefined) chosen.push(listener);
      else groups.set(listener.queue, [...(groups.get(listener.queue) ?? []), listener]);
    }
    for (const group of groups.values()) chosen.push(this.random.pick(group));
    if (chosen.length === 0 && reply !== "") return this.route(reply, new Uint8Array(0), { status: "503" });
    const message: Message = {
      subject,
      reply,
      data,
      status: Number(headers.status ?? 0),
      header: (name) => headers[name] ?? "",
    };
    for (const listener of chosen) this.deliver(listener, message);
  }

  private deliver(listener: Listener, message: Message): void {
    const { random, weather, clock } = this;
    const { bus } = listener;
    if (random.chance(weather.drop)) return this.struck("drop");
    let at = clock.now + random.between(0.1, 2);
    if (random.chance(weather.delay)) {
      this.struck("delay");
      at += random.between(0, weather.delayMs);
    }
    // One connection keeps its order, unless the weather says otherwise.
    if (random.chance(weather.reorder)) this.struck("reorder");
    else at = bus.lastAt = Math.max(at, bus.lastAt);
    const copies = random.chance(weather.duplicate) ? 2 : 1;
    if (copies > 1) this.struck("duplicate");
    const { generation } = bus;
    for (let copy = 0; copy < copies; copy++)
      clock.after(
        at - clock.now + copy * random.between(0, 50),
        `< ${message.subject}`,
        () => {
          if (!bus.closed && bus.generation === generation && this.listeners.includes(listener))
            listener.callback(message);
        },
        bus.owner,
      );
  }
}

export class SimBus implements Bus {
  connected = true;
  closed = false;
  /** Grows with each loss of the connection. */
  generation = 0;
  /** When the last message in order arrives. */
  lastAt = 0;
  /** Messages of the present window. */
  said = { window: 0, messages: 0 };
  private readonly handlers = new Set<(event: BusEvent) => void>();

  constructor(
    private readonly broker: Broker,
    readonly owner: Owner,
    readonly token: Token,
  ) {}

  get name(): string {
    return this.token.name;
  }

  publish(subject: string, data: Uint8Array, headers?: Headers, reply = ""): void {
    if (this.connected) this.broker.publish(this, subject, data, headers, reply);
  }

  subscribe(subject: string, callback: (message: Message) => void, queue?: string): Subscription {
    return this.broker.listen({ tokens: subject.split("."), queue, bus: this, callback });
  }

  on(listener: (event: BusEvent) => void): () => void {
    this.handlers.add(listener);
    return () => this.handlers.delete(listener);
  }

  emit(event: BusEvent): void {
    for (const handler of [...this.handlers]) handler(event);
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.connected = false;
    this.closed = true;
    this.broker.forget(this);
  }
}

function allowed(permissions: Permissions | undefined, subject: string): boolean {
  if (permissions === undefined) return true;
  const tokens = subject.split(".");
  return permissions.pub.some((pattern) => matches(pattern.split("."), tokens));
}

function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (const [i, token] of pattern.entries()) {
    if (token === ">") return tokens.length > i;
    if (i >= tokens.length || (token !== "*" && token !== tokens[i])) return false;
  }
  return pattern.length === tokens.length;
}
