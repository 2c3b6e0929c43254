// Owns one sequence as the scheduler knows it: what was asked, what came, where it is. Plain data, changed by core.ts only.
import type { z } from "zod";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { quantumSequence } from "../../kernel/abi/syscalls/device.ts";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import type { Account } from "./accounts.ts";
import type { Placement } from "./placement.ts";
import type { Candidate } from "./policies.ts";

export type RunInput = z.output<typeof scheduler.run.input>;
export type RunOutput = z.output<typeof scheduler.run.output>;
type QuantumSequence = z.input<typeof quantumSequence>;

/** homeless: no device has its model. waiting: for KV blocks. ready: has them. ended: answered. */
export type State = "homeless" | "waiting" | "ready" | "ended";

export interface Sequence extends Candidate {
  /** Also the id of the request that it answers. */
  id: string;
  principal: string;
  account: Account;
  input: RunInput;
  /** The inbox that its tokens go to. */
  to: string;
  /** Prompt and what came back in reports: enough to begin again anywhere. */
  ids: number[];
  state: State;
  placement: Placement | undefined;
  /** KV blocks set aside for it. */
  leased: number;
  /** The device has it, so later quanta need only name it. */
  started: boolean;
  /** Tokens of `ids` that are computed as far as reports tell. */
  computed: number;
  /** Quanta in flight that name it, and what was charged for them in advance. */
  inFlight: number;
  charged: number;
  /** What made it so far; a device with other arithmetic must not go on with it. */
  numerics: string | undefined;
  firstRunAt: number | undefined;
  usage: { computedTokens: number; cachedTokens: number; runMs: number };
}

export function newTokens({ ids, input }: Sequence): number {
  return ids.length - input.ids.length;
}

/** New tokens that it may still want. */
export function wanted(sequence: Sequence): number {
  return sequence.input.mode === "generate" ? Math.max(0, sequence.input.maxNew - newTokens(sequence)) : 0;
}

/** Tokens that are to be computed until its end, at most. */
export function work(sequence: Sequence): number {
  return Math.max(0, sequence.ids.length - sequence.computed) + Math.max(0, wanted(sequence) - 1);
}

/** KV blocks that it fills in the end, at most: set aside before it begins, so that it never waits in the middle. */
export function blocksOf(sequence: Sequence, context: number): number {
  const tokens = Math.min(
    sequence.input.ids.length + (sequence.input.mode === "generate" ? sequence.input.maxNew : 0),
    context,
  );
  return Math.max(1, Math.ceil(tokens / BLOCK_TOKENS));
}

/** How a quantum names it: in full when the device does not have it. */
export function entryOf(sequence: Sequence): QuantumSequence {
  const { id, input, ids, started, to, principal } = sequence;
  if (started) return { seq: id };
  const { mode, sample, stopIds, maxNew, allowed, logprobs, from } = input;
  return {
    seq: id,
    start: {
      ids,
      generated: newTokens(sequence),
      mode,
      sample,
      stopIds,
      maxNew,
      from,
      to,
      principal,
      ...(allowed === undefined ? {} : { allowed }),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
  };
}
