// Owns what a model is measured on and so must not learn: exact sources, and long runs of words out of them.
import { itemKey } from "../builtin/split.ts";
import type { Example } from "../text/records.ts";
import { textOf } from "./clean.ts";
import { shingles, words } from "./words.ts";

/** A shared run of so many words is a quotation and no chance (Brown et al. 2020, appendix C). */
const RUN = 13;

export class HeldOut {
  private readonly sources = new Set<string>();
  private readonly runs = new Set<number>();

  add(example: Example): void {
    this.sources.add(itemKey(example));
    const list = words(textOf(example));
    if (list.length >= RUN) for (const run of shingles(list, RUN)) this.runs.add(run);
  }

  /** Whether an example gives away something that was added. A run of 32 bits is taken for another once in some millions. */
  has(example: Example): boolean {
    if (this.sources.has(itemKey(example))) return true;
    if (this.runs.size === 0) return false;
    const list = words(textOf(example));
    return list.length >= RUN && shingles(list, RUN).some((run) => this.runs.has(run));
  }
}
