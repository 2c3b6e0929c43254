// Owns which items of the corpus a model may learn from and which only measure it.
import { createHash } from "node:crypto";
import type { Example } from "../text/records.ts";

export const SPLITS = ["train", "validation", "test"] as const;
export type Split = (typeof SPLITS)[number];

/** Percent of the real sources held out; the rest is trained on. */
const HELD_OUT = { validation: 5, test: 5 };

/** Two sources with one key are the same text to a reader: case, width and spaces do not count. */
export function sourceKey(source: string): string {
  return source.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
}

/**
 * The split of one item: a function of its key alone, so it stays when the corpus grows, and no text crosses.
 * Hand-written items are meant to be memorised: always `train`.
 */
export function splitOf({ source, origin }: Pick<Example, "source" | "origin">): Split {
  if (origin === "handwritten") return "train";
  const bucket = createHash("sha256").update(sourceKey(source)).digest().readUInt32BE(0) % 100;
  if (bucket < HELD_OUT.test) return "test";
  return bucket < HELD_OUT.test + HELD_OUT.validation ? "validation" : "train";
}
