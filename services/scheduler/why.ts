// Owns the sentence that says why a sequence does not run, with numbers. Pure.
import { LENGTH } from "./quanta.ts";
import { blocksOf, rest, type Sequence } from "./sequence.ts";
import type { Slot } from "./slot.ts";

export interface Surroundings {
  policy: string;
  /** The devices that have its model. */
  slots: readonly Slot[];
  sequences: Iterable<Sequence>;
  /** Tokens per ms of its model, once measured. */
  speed: number | undefined;
}

export function why(sequence: Sequence, { policy, slots, sequences, speed }: Surroundings): string {
  if (sequence.charged.length > 0)
    return `runs on ${sequence.device}, ${sequence.newIds.length} of ${sequence.input.maxNew} tokens made`;
  const { model } = sequence.input;
  if (slots.length === 0) return `no device has ${model} resident yet`;
  const ahead = [...sequences].filter(
    (other) => other !== sequence && other.charged.length > 0 && other.input.model === model,
  );
  const free = Math.max(...slots.map(({ blocks, leased }) => blocks - leased));
  if (sequence.device === undefined && blocksOf(sequence) > free)
    return `needs ${blocksOf(sequence)} KV blocks, ${Math.max(0, free)} are free; ${ahead.length} sequences hold the others`;
  const expected =
    speed === undefined
      ? ""
      : `, expected within ${Math.ceil((Math.min(...ahead.map(rest), LENGTH.alone.maxSteps) * Math.max(1, ahead.length)) / speed)} ms`;
  return `waits for its turn under ${policy}: ${ahead.length} sequences run${expected}`;
}
