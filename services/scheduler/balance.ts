// Owns the choice between devices that have a model: where a sequence is expected to be done first, its cached prefix counted.
import { chainOf } from "./prefixes.ts";
import { BRIEF } from "./quanta.ts";
import { rest, type Sequence } from "./sequence.ts";
import { fits, type Slot } from "./slot.ts";

/** Picks slots one sequence after another; each counts as load for those after it, so that they do not all go to the same one. */
export class Balance {
  /** Rows. */
  private readonly loads: Map<Slot, number>;
  /** ms per row of those that were not measured yet. */
  private readonly pace: number;

  constructor(private readonly slots: readonly Slot[]) {
    this.loads = new Map(slots.length < 2 ? [] : slots.map((slot) => [slot, load(slot)]));
    const known = slots.flatMap(({ pace }) => pace ?? []);
    this.pace = known.length === 0 ? 1 : known.reduce((a, b) => a + b) / known.length;
  }

  /** The slot for a sequence that is on none; undefined when it fits nowhere now. Counts it there. */
  place(sequence: Sequence): Slot | undefined {
    if (this.slots.length === 1) return fits(this.slots[0]!, sequence) ? this.slots[0] : undefined;
    const chain = chainOf(sequence.input.ids);
    let best: { slot: Slot; rows: number; ms: number } | undefined;
    for (const slot of this.slots) {
      if (!fits(slot, sequence)) continue;
      // Where it was put aside nothing is computed again; elsewhere all but what others left there.
      const again = sequence.parkedOn === slot.device ? 0 : sequence.computed - slot.prefixes.cached(chain);
      const rows = this.loads.get(slot)! + Math.max(1, rest(sequence) + again);
      const ms = (rows * (slot.pace ?? this.pace)) / slot.part.share;
      if (best === undefined || ms < best.ms) best = { slot, rows, ms };
    }
    if (best === undefined) return undefined;
    this.loads.set(best.slot, best.rows);
    best.slot.prefixes.add(chain);
    return best.slot;
  }
}

/** Rows that are still to be computed there. */
export function load(slot: Slot): number {
  let rows = 0;
  for (const sequence of slot.ready.values()) rows += rest(sequence);
  return rows;
}

/** Sequences that an idle device should take over from the busiest one: half of those with much to go, most first.
 * What has computed nothing yet was placed just now, and for a reason. */
export function surplus(slots: readonly Slot[], idle: Slot): { from: Slot; sequences: Sequence[] } | undefined {
  let from: Slot | undefined;
  for (const slot of slots)
    if (slot.device !== idle.device && slot.ready.size >= 2 && (!from || load(slot) > load(from))) from = slot;
  if (from === undefined) return undefined;
  const sequences = [...from.ready.values()]
    .filter((one) => one.computed > 0 && one.input.mode === "generate" && rest(one) >= 4 * BRIEF && fits(idle, one))
    .sort((a, b) => rest(b) - rest(a))
    .slice(0, Math.floor(from.ready.size / 2));
  return sequences.length === 0 ? undefined : { from, sequences };
}
