// Owns the text that the built-in model learns from, as it lies beside this file.
import { readFileSync } from "node:fs";
import { type Example, parseExamples } from "../text/records.ts";

/** All items in file order: hand-written ones first. */
export function builtinCorpus(): Example[] {
  return ["handwritten.jsonl", "real.jsonl"].flatMap((name) =>
    parseExamples(readFileSync(new URL(name, import.meta.url), "utf8"), name),
  );
}
