// Owns the grammars of one vocabulary on one thread, kept by their schemas: those of many sequences are the same.
import { Guide } from "./guide.ts";
import { Grammar } from "./mask.ts";
import type { Vocabulary } from "./trie.ts";

/** A sequence's part: the schema as JSON, and the ids of its text so far. */
export interface Constraint {
  schema: string;
  made: readonly number[];
}

const KEPT = 8;
/** Nodes come as texts come; a grammar with more begins anew, for it is a function of its schema. */
const MOST_NODES = 300_000;

export class Grammars {
  private readonly kept = new Map<string, Grammar>();

  constructor(private readonly vocabulary: Vocabulary) {}

  /** A text of which `left` ids may still come. EINVAL: the schema is not supported, does not fit, or `made` is none of its. */
  guide({ schema, made }: Constraint, left: number, stopIds: readonly number[]): Guide {
    return new Guide(this.find(schema), made, left, stopIds);
  }

  private find(schema: string): Grammar {
    const known = this.kept.get(schema);
    const found = known && known.nodes.count < MOST_NODES ? known : new Grammar(JSON.parse(schema), this.vocabulary);
    // In the order of use.
    this.kept.delete(schema);
    this.kept.set(schema, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value!);
    return found;
  }
}
