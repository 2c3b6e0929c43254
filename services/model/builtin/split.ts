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

/** What must not be known beforehand: the question, or of a text without one the text. */
export function itemKey({ source, target }: Pick<Example, "source" | "target">): string {
  return sourceKey(source === "" ? target : source);
}

/**
 * The split of one item: a function of its key alone, so it stays when the corpus grows, and no text crosses.
 * Hand-written items are meant to be memorised: always `train`.
 */
export function splitOf(item: Pick<Example, "source" | "target" | "origin">): Split {
  if (item.origin === "handwritten") return "train";
  const bucket = createHash("sha256").update(itemKey(item)).digest().readUInt32BE(0) % 100;
  if (bucket < HELD_OUT.test) return "test";
  return bucket < HELD_OUT.test + HELD_OUT.validation ? "validation" : "train";
}
