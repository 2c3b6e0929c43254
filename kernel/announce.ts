// Owns what the kernel tells everybody: who went down, and what happened. Nothing is lost while the broker is away.
import { encode } from "./abi/codec.ts";
import { subjects } from "./abi/subjects.ts";
import type { Bus } from "./ipc/bus.ts";

export interface Down {
  reason: string;
  code: number | null;
  signal: string | null;
  /** The end of its log. */
  lines: string[];
}

export class Announcer {
  private waiting: [subject: string, body: Uint8Array][] = [];

  constructor(private readonly bus: Bus) {
    bus.on(({ type }) => {
      if (type === "back") for (const [subject, body] of this.waiting.splice(0)) bus.publish(subject, body);
    });
  }

  down(service: string, instance: string, epoch: number, body: Down): void {
    this.publish(subjects.down(service, instance, epoch), body);
  }

  /** `what` is one token: "ready", "crashed". */
  life(what: string, body: object): void {
    this.publish(subjects.event("kernel", `life.${what}`), { at: Date.now(), what, ...body });
  }

  /** What cannot wait to be told and is gone after a restart of the kernel: transitions. */
  event(topic: string, body: unknown): void {
    if (this.bus.connected) this.bus.publish(subjects.event("kernel", topic), encode(body));
  }

  private publish(subject: string, body: unknown): void {
    if (this.bus.connected) this.bus.publish(subject, encode(body));
    else this.waiting.push([subject, encode(body)]);
  }
}
