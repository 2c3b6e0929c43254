// Owns the policies: each orders candidates, best first. Pure, one signature.
import type { POLICIES } from "../../kernel/abi/syscalls/scheduler.ts";

export type PolicyName = (typeof POLICIES)[number];

export interface Candidate {
  principal: string;
  /** Order of arrival, from 0. */
  arrival: number;
  priority: number;
  /** performance.now() ms, Infinity for none. */
  deadline: number;
  /** Number of the last quantum that it was part of, 0 for none. */
  lastRun: number;
}

/** Virtual time of a principal: tokens computed for it, divided by its weight. */
export type VirtualTime = (principal: string) => number;
type Policy = (a: Candidate, b: Candidate, time: VirtualTime) => number;

const fifo: Policy = (a, b) => a.arrival - b.arrival;

export const policies: Record<PolicyName, Policy> = {
  fifo,
  rr: (a, b) => a.lastRun - b.lastRun || fifo(a, b, never),
  priority: (a, b) => b.priority - a.priority || fifo(a, b, never),
  edf: (a, b) => (a.deadline === b.deadline ? fifo(a, b, never) : a.deadline - b.deadline),
  // The principal that got least for its weight goes first; among its own sequences, the one that came first.
  fair: (a, b, time) =>
    (a.principal === b.principal ? fifo(a, b, time) : time(a.principal) - time(b.principal)) || fifo(a, b, time),
};

function never(): number {
  return 0;
}

export function order<C extends Candidate>(name: PolicyName, candidates: readonly C[], time: VirtualTime): C[] {
  const policy = policies[name];
  return [...candidates].sort((a, b) => policy(a, b, time));
}
