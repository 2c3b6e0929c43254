// Owns the leases: who has beaten lately, who is suspect, who hangs. Pure: time is given, verdicts are returned.
import { z } from "zod";
import { tryDecode } from "./abi/codec.ts";
import { LIMITS } from "./abi/limits.ts";

/** What a beat says of its sender's work. */
const beatOf = z.looseObject({
  /** ms by which the most overdue handler has outlived its request's end. */
  overdueMs: z.number().min(0).optional(),
  /** Longest delay of its event loop since its beat before, ms. */
  lagMs: z.number().min(0).optional(),
});
export type Beat = z.output<typeof beatOf>;

/** A beat's body; undefined for garbage, which whoever stole a service's key may send. */
export function readBeat(data: Uint8Array): Beat | undefined {
  return beatOf.safeParse(tryDecode(data)).data;
}

export type LeaseVerdict =
  | { instance: string; verdict: "suspect" }
  | { instance: string; verdict: "beat" }
  | { instance: string; verdict: "dead"; reason: string };

interface Lease {
  epoch: number;
  beatAt: number;
  suspect: boolean;
  last?: Beat;
}

/** Handlers get this long after their request is over; then they hang, whatever the beats say. */
const OVERDUE = 30_000;

export class Leases {
  private readonly leases = new Map<string, Lease>();
  private tickedAt: number | undefined;
  private killedAt = Number.NEGATIVE_INFINITY;

  /** `tickEvery`: ms between calls of `tick`; what is beyond it is the kernel's own lag. */
  constructor(private readonly tickEvery: number) {}

  /** A lease runs from here on, as if it had just beaten. */
  open(instance: string, epoch: number, now: number): void {
    this.leases.set(instance, { epoch, beatAt: now, suspect: false });
  }

  close(instance: string): void {
    this.leases.delete(instance);
  }

  /** A verdict only if it was suspect before. Beats of other epochs count for nothing. */
  beat(instance: string, epoch: number, beat: Beat, now: number): LeaseVerdict | undefined {
    const lease = this.leases.get(instance);
    if (lease === undefined || lease.epoch !== epoch) return undefined;
    lease.beatAt = now;
    lease.last = beat;
    if (!lease.suspect) return undefined;
    lease.suspect = false;
    return { instance, verdict: "beat" };
  }

  /** Its connection was lost: one more sign and it is dead. */
  doubt(instance: string): LeaseVerdict | undefined {
    const lease = this.leases.get(instance);
    if (lease === undefined || lease.suspect) return undefined;
    lease.suspect = true;
    return { instance, verdict: "suspect" };
  }

  last(instance: string): Beat | undefined {
    return this.leases.get(instance)?.last;
  }

  /** ms since its last beat, or since it has its lease. */
  age(instance: string, now: number): number | undefined {
    const beatAt = this.leases.get(instance)?.beatAt;
    return beatAt === undefined ? undefined : now - beatAt;
  }

  /** The broker is back: everybody gets the time to reconnect. */
  extendAll(now: number): void {
    for (const lease of this.leases.values()) lease.beatAt = now;
  }

  /**
   * Looks at all leases. Extends them by the kernel's own lag, for beats that came meanwhile may not have been read.
   * At most one is declared dead per `deadAfter`: if all seem to hang, it is the machine that does.
   * `connected`: no beat can come while the broker is away.
   */
  tick(now: number, connected: boolean): LeaseVerdict[] {
    const lag = this.tickedAt === undefined ? 0 : Math.max(0, now - this.tickedAt - this.tickEvery);
    this.tickedAt = now;
    const verdicts: LeaseVerdict[] = [];
    for (const [instance, lease] of this.leases) {
      lease.beatAt = connected ? Math.min(now, lease.beatAt + lag) : now;
      const silent = now - lease.beatAt;
      const overdue = lease.last?.overdueMs ?? 0;
      if (silent < LIMITS.suspectAfter && overdue < OVERDUE) continue;
      if (!lease.suspect) {
        lease.suspect = true;
        verdicts.push({ instance, verdict: "suspect" });
      }
      const dead = silent >= LIMITS.deadAfter || overdue >= OVERDUE;
      if (!dead || now - this.killedAt < LIMITS.deadAfter) continue;
      this.killedAt = now;
      this.leases.delete(instance);
      const reason =
        overdue >= OVERDUE
          ? `a request is ${Math.round(overdue / 1000)} s past its end and still runs`
          : `no heartbeat for ${Math.round(silent)} ms`;
      verdicts.push({ instance, verdict: "dead", reason });
    }
    return verdicts;
  }
}
