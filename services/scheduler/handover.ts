// Owns what the board gives out: quanta for devices, and ends for callers.
import type { Output, Quantum } from "./sequence.ts";
import type { Hurry } from "./slot.ts";

/** A quantum to be handed over. */
export interface Handover {
  device: string;
  epoch: number;
  quantum: Quantum;
  /** What runs there shall end before, for one that never ran waits. */
  cut: Hurry | undefined;
  /** Sequences that give their room up to others: they are put aside there. */
  park: string[];
  /** ms that each waited whose first quantum this is. */
  waited: number[];
  /** Sequences of this quantum that were put aside on other devices: to be moved from there first. */
  move: { device: string; seq: string }[];
}

/** A sequence that is finished, or why it failed. */
export interface End {
  id: string;
  output?: Output;
  problem?: string;
}
