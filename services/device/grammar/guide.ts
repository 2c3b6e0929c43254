// Owns the state of one constrained text: its place in the grammar, the ids that are left, and near their end a way to close in
// time. All of it follows from the grammar, the ids made so far and their limit, so that a text that goes on elsewhere is the same.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Grammar } from "./mask.ts";
import type { Node } from "./node.ts";

export class Guide {
  private node: Node;
  /** Ids that complete the text in time, where its size in bytes does not promise that already. */
  private plan: readonly number[] | undefined;

  /**
   * After the ids in `made`; `left` more may come. EINVAL when nothing of the schema fits into that, or `made` is no beginning of it.
   */
  constructor(
    private readonly grammar: Grammar,
    made: readonly number[],
    private left: number,
    private readonly stopIds: readonly number[],
  ) {
    this.node = grammar.start;
    this.left += made.length;
    if (!this.fits(this.node, this.left)) throw tooFew(grammar, this.left);
    this.plan = this.planned(this.node);
    for (const id of made) if (!stopIds.includes(id)) this.take(id);
    if (this.node === grammar.nodes.never)
      throw new SomaError("EINVAL", "the ids given are no beginning of the schema's");
    if (!this.fits(this.node, this.left) && this.plan === undefined) throw tooFew(grammar, this.left);
  }

  /** The text may end here. */
  get ends(): boolean {
    return this.node.size === 0;
  }

  /** It is over: nothing may follow, or nothing that fits. */
  get complete(): boolean {
    if (this.node === this.grammar.nodes.done) return true;
    return this.ends && this.stopIds.length === 0 && !this.allowed().some((bits) => bits !== 0);
  }

  /** Sets the logits of all ids that may not come next to -Infinity. */
  restrict(logits: Float32Array): void {
    const { ends, stopIds } = this;
    const bits = this.allowed();
    const stops = stopIds.map((id) => logits[id]!);
    // Some id always closes the text in time, or it has ended.
    if (!ends && !bits.some((word) => word !== 0)) throw new Error("a constrained text has no way on");
    for (let id = 0; id < logits.length; id++)
      if (((bits[id >>> 5] ?? 0) >>> (id & 31)) % 2 === 0) logits[id] = Number.NEGATIVE_INFINITY;
    stopIds.forEach((id, i) => {
      logits[id] = ends ? stops[i]! : Number.NEGATIVE_INFINITY;
    });
  }

  /** An id that is text, and was allowed. */
  take(id: number): void {
    this.left -= 1;
    this.node = this.grammar.after(this.node, id);
    const rest = this.plan?.[0] === id ? this.plan.slice(1) : undefined;
    this.plan = this.promised(this.node, this.left) ? undefined : (rest ?? this.planned(this.node));
  }

  private allowed(): Uint32Array {
    const { all, groups, reach } = this.grammar.mask(this.node);
    const room = this.left - 1;
    if (this.grammar.vocabulary.spellsAll && reach <= room) return all;
    const bits = new Uint32Array(all.length);
    for (const group of groups)
      if (this.fits(group.to, room)) for (let i = 0; i < bits.length; i++) bits[i]! |= group.bits[i]!;
    const next = this.plan?.[0];
    if (next !== undefined) bits[next >>> 5]! |= 1 << (next & 31);
    return bits;
  }

  /** Each byte could be an id of its own. */
  private promised(node: Node, left: number): boolean {
    return this.grammar.vocabulary.spellsAll && node.size <= left;
  }

  private fits(node: Node, left: number): boolean {
    return this.promised(node, left) || this.grammar.completion(node, left) !== undefined;
  }

  private planned(node: Node): readonly number[] | undefined {
    return this.promised(node, this.left) ? undefined : this.grammar.completion(node, this.left);
  }
}

function tooFew(grammar: Grammar, left: number): SomaError {
  const { start, vocabulary, nodes } = grammar;
  const ids = start.size <= 1 << 20 ? vocabulary.spell(Uint8Array.from(nodes.shortest(start))) : undefined;
  if (ids === undefined && start.size <= 1 << 20)
    return new SomaError("EINVAL", "the model's vocabulary cannot spell any value of the schema: choose another model");
  const needed = ids?.length ?? Math.ceil(start.size / vocabulary.longest);
  return new SomaError(
    "EINVAL",
    `the schema needs ${needed} tokens at least and has ${left}: allow more, or ask for less`,
  );
}
