// Owns the estimate of when a sequence would be done, from measured speeds and from who else wants the devices. Pure.
import { BATCH, TOKEN_BUDGET } from "./quanta.ts";
import { type Input, rest, type Sequence } from "./sequence.ts";
import type { Speed } from "./speed.ts";

/** ms until such a sequence is done on `devices` devices with this model; undefined while nothing was measured. */
export function estimate(
  input: Input,
  others: Iterable<Sequence>,
  devices: number,
  speed: Speed | undefined,
): number | undefined {
  const own = input.ids.length + input.maxNew;
  let rows = own;
  let active = 1;
  for (const other of others) {
    // Under fair sharing others slow it down by as much as it asks for itself, at most.
    rows += Math.min(rest(other), own) / devices;
    active += 1 / devices;
  }
  const turns = Math.ceil(active / BATCH);
  const steps = turns * (Math.ceil(input.ids.length / TOKEN_BUDGET) + input.maxNew);
  return speed?.ms(Math.max(steps, rows / TOKEN_BUDGET), rows);
}
