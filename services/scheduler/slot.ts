// Owns a model on a part of a device as the scheduler knows it: quanta in flight, sequences whose KV is there, blocks set aside.
import type { z } from "zod";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import { Order } from "./order.ts";
import { type Charged, type Part, partName } from "./parts.ts";
import type { Policy } from "./policies.ts";
import { Prefixes } from "./prefixes.ts";
import { LENGTH } from "./quanta.ts";
import { blocksOf, type Sequence } from "./sequence.ts";

export type Placement = z.output<typeof scheduler.place.input>;

export interface Flight {
  quantum: string;
  /** Made long, for nobody waited. */
  long: boolean;
  /** For the first tokens of newcomers: over soon. */
  brisk: boolean;
  /** Which attempt at each of its sequences it belongs to. */
  attempts: Map<string, number>;
  charged: Charged;
}

/** How the running quantum is to be interrupted. */
export type Hurry = "now" | "step";

/** `blocks`: the part's quota of those that its model has on the device. */
export interface Slot extends Placement {
  part: Part;
  /** Blocks of all parts. */
  deviceBlocks: number;
  /** Quanta that were handed over, of all parts: a device runs those of a model in order. `long` ones are to be cut short when somebody comes. */
  inFlight: Flight[];
  /** Sequences whose KV is there, and the blocks set aside for them until their end. */
  ready: Order<Sequence>;
  leased: number;
  /** Measured ms for a row, smoothed. */
  pace: number | undefined;
  /** Steps that its last short quanta had, smoothed: a charge in advance is as large as what comes back. */
  steps: number;
  prefixes: Prefixes;
  /** Gets no more work: it is about to go. */
  draining: boolean;
}

export function openSlot(placement: Placement, part: Part, inFlight: Flight[], policy: Policy): Slot {
  return {
    ...placed(placement, part),
    part,
    inFlight,
    ready: new Order(policy),
    leased: 0,
    pace: undefined,
    steps: LENGTH.crowded.maxSteps,
    prefixes: new Prefixes(),
    draining: false,
  };
}

/** What a device says of a model, as it is for one of its parts. */
export function placed(placement: Placement, { memory }: Part): Placement & Pick<Slot, "deviceBlocks"> {
  return { ...placement, deviceBlocks: placement.blocks, blocks: Math.floor(placement.blocks * memory + 1e-9) };
}

/** A sequence comes onto a slot: room for all that it may come to is set aside. Not while it is in an order. */
export function bind(slot: Slot, sequence: Sequence): void {
  slot.leased += blocksOf(sequence);
  sequence.device = slot.device;
  sequence.part = slot.part.name;
  sequence.attempt += 1;
  sequence.since = sequence.computed;
}

/** Whether it is bound to a slot that has not heard of it yet. */
export function unheard({ startedOn, charged }: Sequence): boolean {
  return startedOn === undefined && charged.length === 0;
}

/** Whether it may run there: anywhere, or where its call or its grant says. */
export function allows({ device, part }: Pick<Slot, "device" | "part">, pin: string | undefined): boolean {
  return pin === undefined || pin === device || pin === partName(device, part);
}

export function fits(slot: Slot, sequence: Sequence): boolean {
  return allows(slot, sequence.pin) && slot.leased + blocksOf(sequence) <= slot.blocks;
}

/** An app's single sequence, which never ran: somebody waits for its first token. A flood has none. */
export function newcomer({ account, firstRunAt }: Sequence): boolean {
  return account.active === 1 && firstRunAt === undefined;
}

/** Whether what is in flight is to end for those that never ran: at once for a newcomer, at its next step if nobody else waited. */
export function hurry(sequences: readonly Sequence[], inFlight: readonly Flight[]): Hurry | undefined {
  if (inFlight.length === 0 || inFlight.some(({ brisk }) => brisk)) return undefined;
  const fresh = sequences.filter(({ firstRunAt }) => firstRunAt === undefined);
  if (fresh.length === 0) return undefined;
  if (fresh.some(newcomer)) return "now";
  return inFlight[0]!.long ? "step" : undefined;
}

/** Counts a quantum as over; undefined when it was not in flight there. */
export function returned(slot: Slot | undefined, quantum: string): Flight | undefined {
  const at = slot?.inFlight.findIndex((one) => one.quantum === quantum) ?? -1;
  return at < 0 ? undefined : slot!.inFlight.splice(at, 1)[0];
}

/** What was handed over before a quantum and is in flight still: a device answers in order, so those reports are lost or late. */
export function overtaken(slot: Slot | undefined, quantum: string): Flight[] {
  const at = slot?.inFlight.findIndex((one) => one.quantum === quantum) ?? -1;
  return at < 0 ? [] : slot!.inFlight.slice(0, at);
}
