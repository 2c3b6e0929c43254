// Owns one sequence as the scheduler knows it: what was asked, what came of it so far, where its KV lies. Pure.
import type { z } from "zod";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { device } from "../../kernel/abi/syscalls/device.ts";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import type { Account } from "./accounts.ts";
import { partName } from "./parts.ts";
import type { Candidate } from "./policies.ts";
import { TOKEN_BUDGET } from "./quanta.ts";

export type Input = z.output<typeof scheduler.run.input>;
export type Output = z.output<typeof scheduler.run.output>;
export type Quantum = z.input<typeof device.run.input>;
export type Report = z.output<typeof device.run.output>;
export type Part = Report["seqs"][number];

export interface Sequence extends Candidate {
  principal: string;
  account: Account;
  /** `<caller>/<request id>`, which is also its name on the device. */
  id: string;
  /** Inbox that tokens go to. */
  to: string;
  input: Input;
  newIds: number[];
  /** Where its KV lies, once it has run there; and for which part of that device. */
  device: string | undefined;
  part: string;
  /** The device, or `device/part`, where alone it may run. */
  pin: string | undefined;
  /** Device and epoch that have its ids, so that quanta need only name it. */
  startedOn: string | undefined;
  /** `computed` when it came onto its device. */
  since: number;
  /** Where its KV was put aside when others took its room, until it runs again. */
  parkedOn: string | undefined;
  /** Somebody stopped it: it is in no order, and its KV is put aside. */
  paused: boolean;
  /** Counts its comings onto a device: what quanta of a former one still report does not count. 0: it never ran. */
  attempt: number;
  /** What was charged in advance for each quantum in flight that names it, in their order. */
  charged: number[];
  firstRunAt: number | undefined;
  computed: number;
  cached: number;
}

/** What an arrival says of a sequence; the rest begins empty. */
export type Arrival = Pick<
  Sequence,
  "id" | "principal" | "account" | "to" | "input" | "deadline" | "arrival" | "arrivedAt" | "turn" | "pin"
>;

export function openSequence(arrival: Arrival): Sequence {
  return {
    ...arrival,
    priority: arrival.input.priority,
    // It joins its siblings where the one that was picked last stands: neither first for ever nor last.
    served: arrival.account.reach,
    newIds: [],
    device: undefined,
    part: "",
    startedOn: undefined,
    parkedOn: undefined,
    paused: false,
    attempt: 0,
    since: 0,
    charged: [],
    firstRunAt: undefined,
    computed: 0,
    cached: 0,
  };
}

/** KV blocks for all that a sequence may come to. */
export function blocksOf({ input }: Pick<Sequence, "input">): number {
  return Math.ceil((input.ids.length + input.maxNew) / BLOCK_TOKENS);
}

/** Tokens that are still to compute, at most. */
export function rest({ input, newIds, computed }: Sequence): number {
  return Math.max(0, input.ids.length - computed) + Math.max(0, input.maxNew - newIds.length);
}

/** Tokens that a quantum of so many steps is expected to compute for it, beyond those that are under way. */
export function expected(sequence: Sequence, steps: number): number {
  const flying = sequence.charged.reduce((a, b) => a + b, 0);
  const prompt = Math.max(0, sequence.input.ids.length - sequence.computed - flying);
  return Math.max(
    1,
    Math.min(rest(sequence) - flying, prompt > 0 ? Math.min(prompt, TOKEN_BUDGET) + steps - 1 : steps),
  );
}

/** How a device is told of it in a quantum: by name where it knows it, else with all that must be in KV. */
export function named(sequence: Sequence, where: string): Quantum["seqs"][number] {
  if (sequence.startedOn === where) return { seq: sequence.id };
  const { ids, mode, sample, stopIds, maxNew, allowed, constraint, logprobs, pooling, from } = sequence.input;
  return {
    seq: sequence.id,
    start: {
      ids: [...ids, ...sequence.newIds],
      generated: sequence.newIds.length,
      mode,
      sample,
      stopIds,
      maxNew,
      from,
      to: sequence.to,
      principal: sequence.principal,
      ...(allowed === undefined ? {} : { allowed }),
      ...(constraint === undefined ? {} : { constraint }),
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(pooling === undefined ? {} : { pooling }),
      ...(sequence.attempt > 1 ? { parked: true } : {}),
    },
  };
}

/** What its caller gets at its end. */
export function outputOf(
  sequence: Sequence,
  finish: "stop" | "length",
  part: Part,
  now: number,
  numerics: string,
): Output {
  const { input, newIds, computed, cached, arrivedAt, firstRunAt = arrivedAt } = sequence;
  const usage = {
    promptTokens: input.ids.length,
    newTokens: newIds.length,
    computedTokens: computed,
    cachedTokens: cached,
    queueMs: firstRunAt - arrivedAt,
    runMs: now - firstRunAt,
  };
  return {
    finish,
    newTokens: newIds.length,
    usage,
    numerics,
    device: sequence.device === undefined ? "" : partName(sequence.device, { name: sequence.part }),
    ...(part.logprobs ? { logprobs: part.logprobs } : {}),
    ...(part.vector ? { vector: part.vector } : {}),
  };
}

/** Rows until each of them has its next token: the rest of its prompt, or one. */
export function untilToken(sequences: readonly Sequence[]): number {
  return sequences.reduce((sum, { input, computed }) => sum + Math.max(1, input.ids.length - computed), 0);
}
