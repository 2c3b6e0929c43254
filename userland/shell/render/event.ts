// Owns how events of the kernel read: who, and what became of it. Pure.
import type { Chunk } from "../../../kernel/abi/syscalls.ts";

type Event = Chunk<"kernel.events">["events"][number];

/** An end that nobody asked for. */
export interface Death {
  at: number;
  instance: string;
  epoch: number;
  reason: string;
}

/** What the kernel says in an event; see kernel/effects.ts. All of it may lack. */
type Body = Partial<Record<"what" | "service" | "instance" | "reason", string> & Record<"epoch" | "delayMs", number>>;

/** `life.crashed` of a service; undefined for any other event. */
export function deathOf({ at, subject, body }: Event): Death | undefined {
  if (subject !== "evt.kernel.life.crashed") return undefined;
  const { instance = "", epoch = 0, reason = "" } = body as Body;
  return { at, instance, epoch, reason };
}

/** instance -> how it died last. */
export function lastDeaths(events: readonly Event[]): Map<string, Death> {
  const deaths = events.map(deathOf).filter((death) => death !== undefined);
  return new Map(deaths.map((death) => [death.instance, death]));
}

/** A line in two parts. `down` tells callers that a name is gone; `life` tells people why. */
export function eventText({ subject, body }: Event): { actor: string; what: string } {
  const { what, instance, service, epoch, reason } = body as Body;
  const [, , kind, , name] = subject.split(".");
  if (kind === "down") return { actor: (name ?? "").replace(/\.\d+$/, ""), what: `is down${because(reason)}` };
  return {
    actor: instance ?? service ?? "kernel",
    what: `${what ?? subject}${epoch ? `, epoch ${epoch}` : ""}${because(reason)}`,
  };
}

const because = (reason: string | undefined) => (reason === undefined ? "" : `: ${reason}`);
