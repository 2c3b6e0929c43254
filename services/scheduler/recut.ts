// Owns what becomes of sequences when their device is cut anew: they go on with their KV on another part, or are put aside. No I/O.
import { goesBefore, type Order } from "./order.ts";
import { type Cut, partName } from "./parts.ts";
import type { Policy } from "./policies.ts";
import { blocksOf, type Sequence } from "./sequence.ts";
import { fits, type Slot, unheard } from "./slot.ts";
import type { Slots } from "./slots.ts";

export interface Recut {
  /** Put aside, for their part has too little room now: the device is to be told. */
  park: Sequence[];
  /** No part has room for them for ever. */
  stranded: Sequence[];
}

export interface RecutOptions {
  slots: Slots;
  sequences: readonly Sequence[];
  policy: Policy;
  waitingFor: (sequence: Sequence) => Order<Sequence>;
  /** Takes it off its slot: it waits. */
  park: (sequence: Sequence, slot: Slot) => void;
  /** Blocks that it can have at most; undefined when no device has its model. */
  capacity: (sequence: Sequence) => number | undefined;
}

export function recut(device: string, parts: readonly Cut[], board: RecutOptions): Recut {
  const { slots, sequences, policy } = board;
  const gone = slots.cut(device, parts, policy);
  repin(device, board);
  const park: Sequence[] = [];
  const putAside = (sequence: Sequence, slot: Slot) => {
    if (!unheard(sequence)) park.push(sequence);
    board.park(sequence, slot);
  };
  for (const from of gone)
    for (const sequence of [...from.ready.values()]) {
      const room = slots.on(device, from.model).filter((slot) => fits(slot, sequence));
      const to = room.sort((a, b) => b.blocks - b.leased - (a.blocks - a.leased))[0];
      if (to === undefined) {
        putAside(sequence, from);
        continue;
      }
      from.ready.delete(sequence);
      to.leased += blocksOf(sequence);
      sequence.part = to.part.name;
      to.ready.add(sequence);
    }
  // Whom the policy ranks last gives way.
  for (const slot of slots.on(device))
    while (slot.leased > slot.blocks)
      putAside(
        [...slot.ready.values()].reduce((a, b) => (goesBefore(policy, a, b) ? b : a)),
        slot,
      );
  const stranded = sequences.filter((one) => blocksOf(one) > (board.capacity(one) ?? Number.POSITIVE_INFINITY));
  return { park, stranded };
}

/** Whose part is gone may run on all that is left of where it should: its device. */
function repin(device: string, { slots, sequences, waitingFor }: RecutOptions): void {
  const names = new Set(slots.division(device).parts.map((part) => partName(device, part)));
  for (const sequence of sequences) {
    if (!sequence.pin?.startsWith(`${device}/`) || names.has(sequence.pin)) continue;
    const waited = waitingFor(sequence).delete(sequence);
    sequence.pin = device;
    if (waited) waitingFor(sequence).add(sequence);
  }
}
