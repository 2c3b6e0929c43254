// Owns the line to the launcher, which forks and kills at the kernel's word: orders out, reports in.
import { EventEmitter, once } from "node:events";
import { BEAT_MS } from "./launcher/hang.ts";
import type { ChildInfo, Order, Report, StartOrder } from "./launcher/protocol.ts";

type Of<T extends Report["type"]> = Extract<Report, { type: T }>;
type Reports = { [T in Report["type"]]: [Of<T>] };

/** The IPC channel of a process that a launcher started; a test gives a stand-in. */
export interface Channel {
  send?(message: unknown): boolean;
  on(event: "message", listener: (message: unknown) => void): unknown;
}

export class Hands extends EventEmitter<Reports> {
  constructor(private readonly channel: Channel) {
    super();
    if (channel.send === undefined) throw new Error('the kernel is started by its launcher: run "soma start"');
    channel.on("message", (message) => {
      const report = message as Report;
      this.emit(report.type, report as never);
    });
  }

  /** Lets the launcher know, from now on, that our event loop turns. */
  beat(): void {
    this.order({ type: "beat" });
    setInterval(() => this.order({ type: "beat" }), BEAT_MS).unref();
  }

  start(order: Omit<StartOrder, "type">): void {
    this.order({ type: "start", ...order });
  }

  /** KILL reaches the child's whole group. */
  kill(id: string, signal: NodeJS.Signals): void {
    this.order({ type: "kill", id, signal });
  }

  /** What an interactive child reads; undefined ends its input. */
  input(id: string, data: Uint8Array | undefined): void {
    this.order({
      type: "input",
      id,
      ...(data === undefined ? {} : { data: Buffer.from(data).toString("base64") }),
    });
  }

  /** Off: a relayed child is not read on, and blocks. */
  flow(id: string, on: boolean): void {
    this.order({ type: "flow", id, on });
  }

  /** What runs, the kernel itself left out. */
  async list(): Promise<ChildInfo[]> {
    const answer = once(this, "children") as Promise<[Of<"children">]>;
    this.order({ type: "list" });
    return (await answer)[0].children;
  }

  /** Where the broker is: the first report that a kernel gets. */
  async broker(): Promise<Of<"broker">> {
    const [report] = (await once(this, "broker")) as [Of<"broker">];
    return report;
  }

  /** The end of everything. */
  stop(code: number): void {
    this.order({ type: "stop", code });
  }

  private order(order: Order): void {
    this.channel.send!(order);
  }
}
