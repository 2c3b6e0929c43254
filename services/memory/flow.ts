// Owns how fast the memory of devices comes free, as it was measured, and how long who finds too little has to wait. Pure.
import { type Budgets, usedBytes } from "./budget.ts";

/** `bytes` came free in `ms`, up to `at`. */
export interface Flow {
  bytes: number;
  ms: number;
  at: number;
}

/** Device -> its flow, from when anybody asked for it. */
export type Flows = Readonly<Record<string, Flow>>;

/** ms after which half of what was measured counts no more. */
const HALF_LIFE = 60_000;
/** ms: asking sooner costs more than it brings; who waits longer learns nothing of what a person changes meanwhile. */
const LEAST = 20;
const MOST = 60_000;

/** Begins to watch, at `at`. */
export function openFlow(at: number): Flow {
  return { bytes: 0, ms: 0, at };
}

/** Begins to watch a device, unless it is watched. */
export function watched(flows: Flows, device: string, now: number): Flows {
  return Object.hasOwn(flows, device) ? flows : { ...flows, [device]: openFlow(now) };
}

/** Takes a change of the budgets: what less is held came free; a device that is gone is watched no more. */
export function changed(flows: Flows, before: Budgets, after: Budgets, now: number): Flows {
  const next: Record<string, Flow> = {};
  for (const [device, flow] of Object.entries(flows))
    if (Object.hasOwn(after, device) || !Object.hasOwn(before, device)) next[device] = flow;
  for (const [device, budget] of Object.entries(after)) {
    const flow = Object.hasOwn(next, device) ? next[device]! : openFlow(now);
    const held = Object.hasOwn(before, device) ? usedBytes(before[device]!) : 0;
    next[device] = passed(flow, Math.max(0, held - usedBytes(budget)), now);
  }
  return next;
}

function passed(flow: Flow, bytes: number, now: number): Flow {
  const kept = 2 ** (-(now - flow.at) / HALF_LIFE);
  return { bytes: flow.bytes * kept + bytes, ms: (flow.ms + (now - flow.at)) * kept, at: now };
}

/** ms until so many bytes have come free at that pace; while none ever did, as long again as that has been watched. */
export function until(flow: Flow, bytes: number, now: number): number {
  const ms = flow.ms + (now - flow.at);
  const estimate = flow.bytes === 0 ? ms : (ms * bytes) / flow.bytes;
  return Math.round(Math.min(MOST, Math.max(LEAST, estimate)));
}
