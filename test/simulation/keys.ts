// Owns the keys of those who connect in a simulation: the same in every run, for making them is much of a run's work.
import { createKey, type KeyPair } from "../../kernel/ipc/nkey.ts";

/** More than nearly all runs need. Made before any run, so that none has them at the cost of its own source of chance. */
const KEYS: readonly KeyPair[] = Array.from({ length: 60 }, () => createKey("user"));

/** The key of that number, in the order of a run's demand. */
export function keyOf(number: number): KeyPair {
  return KEYS[number] ?? createKey("user");
}
