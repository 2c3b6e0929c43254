// Owns finding the quanta that keep a newcomer waiting: on another part of the device perhaps, and of another model.
import { AHEAD } from "./quanta.ts";
import type { Sequence } from "./sequence.ts";
import { type Hurry, hurry, type Slot } from "./slot.ts";
import type { Slots } from "./slots.ts";

export interface Held {
  device: string;
  model: string;
  how: Hurry;
}

/** `own`: where the sequence may run. Empty where one of these has room, or nothing is to be hurried. */
export function held(sequence: Sequence, own: readonly Slot[], slots: Slots): Held[] {
  const full = own.filter((slot) => !slots.hasRoom(slot));
  const lanes = full.flatMap((slot) =>
    slot.inFlight.length >= AHEAD ? [slot] : slots.on(slot.device).filter(({ inFlight }) => inFlight.length > 0),
  );
  const [seen, found] = [new Set<unknown>(), [] as Held[]];
  for (const { device, model, inFlight } of lanes) {
    if (seen.has(inFlight)) continue;
    seen.add(inFlight);
    const how = hurry([sequence], inFlight);
    if (how !== undefined) found.push({ device, model, how });
  }
  return found;
}
