// Owns the policies: pure functions of one signature from what is known of a sequence and its app to its rank. Lower goes first.
import type { POLICIES } from "../../kernel/abi/syscalls/scheduler.ts";

/** What a policy may look at. Times in ms on the scheduler's clock. */
export interface Candidate {
  /** Number of its arrival: breaks all ties. */
  arrival: number;
  arrivedAt: number;
  /** Infinity for none. */
  deadline: number;
  /** Higher is more urgent. */
  priority: number;
  /** Number of the turn that it had last, or of its arrival among turns. */
  turn: number;
  /** Its own virtual time among the sequences of its app, in tokens. */
  served: number;
}

export interface Share {
  /** Virtual time of the app: tokens computed for it / its weight. */
  virtual: number;
}

/** `app` orders apps by their first sequence, `own` the sequences of one app. */
export interface Rank {
  app: number;
  own: number;
}

export type PolicyName = (typeof POLICIES)[number];
export type Policy = (candidate: Candidate, share: Share) => Rank;

/** One level of priority is worth so much waiting: a low one is late, but never starves. */
const LEVEL_MS = 10_000;
/** Who names no deadline competes as if it were this long after the arrival. */
const PATIENCE_MS = 60_000;

const same = (rank: number): Rank => ({ app: rank, own: rank });

export const POLICY: Record<PolicyName, Policy> = {
  fifo: ({ arrival }) => same(arrival),
  rr: ({ turn }) => same(turn),
  priority: ({ arrivedAt, priority }) => same(arrivedAt - priority * LEVEL_MS),
  edf: ({ arrivedAt, deadline }) => same(Math.min(deadline, arrivedAt + PATIENCE_MS)),
  // The app that got least for its weight, and of its sequences the one that got least.
  fair: ({ served }, { virtual }) => ({ app: virtual, own: served }),
};
