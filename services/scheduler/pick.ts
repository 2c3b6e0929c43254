// Owns the pick: which sequences make the next quantum of a slot, and which give up their KV for a better one that waits.
import type { Balance } from "./balance.ts";
import type { Charges } from "./charges.ts";
import { foremost, goesBefore, type Order } from "./order.ts";
import type { Policy } from "./policies.ts";
import { AHEAD, BATCH, BRIEF, CROWD, TENURE } from "./quanta.ts";
import { blocksOf, rest, type Sequence } from "./sequence.ts";
import { bind, fits, newcomer, type Slot } from "./slot.ts";

/** Sequences of other apps that the best waiting one goes before, as many as its KV needs; none when that is not enough. */
export function victims(slot: Slot, fresh: Sequence | undefined, policy: Policy): Sequence[] {
  if (fresh === undefined || fits(slot, fresh)) return [];
  const candidates = [...slot.ready.values()]
    .filter(
      (one) => one.account !== fresh.account && one.computed - one.since >= TENURE && goesBefore(policy, fresh, one),
    )
    .sort((a, b) => (goesBefore(policy, a, b) ? 1 : -1));
  const chosen: Sequence[] = [];
  let short = slot.leased + blocksOf(fresh) - slot.blocks;
  for (const one of candidates) {
    if (short <= 0) break;
    chosen.push(one);
    short -= blocksOf(one);
  }
  return short > 0 ? [] : chosen;
}

/**
 * The best sequences by the policy, charged: those that are there, and of `waiting` others as long as their KV fits. One whose
 * better place is elsewhere is bound there, and picked when that device has its turn. In a crowd newcomers end the pick:
 * only more of them follow one, so that their step is short.
 */
export function choose(
  slot: Slot,
  waiting: readonly Order<Sequence>[],
  policy: Policy,
  charges: Charges,
  balance: Balance,
): Sequence[] {
  const chosen: Sequence[] = [];
  const passed: Sequence[] = [];
  const crowd = slot.ready.size >= CROWD;
  let brisk = false;
  while (chosen.length < BATCH) {
    const here = slot.ready.first;
    // Strictly in order: a large one is not passed by small ones for ever.
    const order = foremost(policy, waiting);
    const fresh = order?.first;
    const first = fresh !== undefined && (here === undefined || goesBefore(policy, fresh, here));
    const place = first ? balance.place(fresh) : undefined;
    const best = place === undefined ? here : fresh;
    if (best === undefined || (brisk && !newcomer(best))) break;
    if (fresh !== undefined && place !== undefined) {
      order!.delete(fresh);
      bind(place, fresh);
      if (place !== slot) {
        place.ready.add(fresh);
        continue;
      }
      brisk ||= crowd && newcomer(fresh);
      charges.charge(fresh, slot.steps);
      chosen.push(fresh);
    } else {
      slot.ready.delete(best);
      brisk ||= crowd && newcomer(best);
      // A score or a vector is asked for once; what goes on may be named in the next quantum already.
      if (best.charged.length === 0 || (best.input.mode === "generate" && best.charged.length < AHEAD)) {
        charges.charge(best, slot.steps);
        chosen.push(best);
      } else passed.push(best);
    }
  }
  // Only what goes on for long is worth a second quantum before the first has come back.
  const brief = chosen.every((one) => one.charged.length > 1 && rest(one) <= BRIEF);
  if (brief) for (const sequence of chosen) charges.refund(sequence);
  for (const sequence of [...chosen, ...passed]) slot.ready.add(sequence);
  return brief ? [] : chosen;
}
