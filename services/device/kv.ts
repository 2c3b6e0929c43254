// Owns the truth about a model's KV memory: block tables of sequences over one pool, with shared prefixes. Pure: numbers only.
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import { Blocks } from "./blocks.ts";
import { keyAt, type Node, Radix } from "./radix.ts";

/**
 * Token p of a sequence lies in block `blocks[p / 16]`. The first `node.depth` blocks are in the tree, perhaps shared and
 * never written again; those after them belong to this table alone. So nothing shared is ever written: a copy on write
 * would need a table that ends inside a shared block, and `share` takes whole blocks only.
 */
export interface Table {
  blocks: number[];
  node: Node;
}

export class Kv {
  private readonly blocks: Blocks;
  private readonly tree: Radix;

  constructor(readonly count: number) {
    this.blocks = new Blocks(count);
    this.tree = new Radix(this.blocks);
  }

  /** Blocks that can be had: free ones, and cached prefixes that nobody holds. */
  get free(): number {
    return this.blocks.free + this.tree.evictable;
  }

  get cached(): number {
    return this.tree.evictable;
  }

  open(): Table {
    return { blocks: [], node: this.tree.root };
  }

  /** Extends a table that has no blocks of its own by cached blocks of `ids[0, most)`. Returns the tokens that it covers. */
  share(table: Table, ids: readonly number[], most: number): number {
    if (table.blocks.length > table.node.depth) throw new Error("a table with own blocks cannot share further ones");
    while ((table.node.depth + 1) * BLOCK_TOKENS <= most) {
      const child = this.tree.child(table.node, ids);
      if (child === undefined) break;
      this.tree.hold(child);
      table.blocks.push(child.block);
      table.node = child;
    }
    return table.node.depth * BLOCK_TOKENS;
  }

  /** Names the block of `ids` that follows the table's cached ones, or undefined when fewer than a whole one is in `ids[0, most)`. */
  missing(table: Table, ids: readonly number[], most: number): string | undefined {
    if ((table.node.depth + 1) * BLOCK_TOKENS > most) return undefined;
    return `${table.node.id}/${keyAt(ids, table.node.depth)}`;
  }

  /** Makes the table long enough for `tokens` tokens, evicting cached prefixes where need be. False: it got what there was. */
  grow(table: Table, tokens: number): boolean {
    const wanted = Math.ceil(tokens / BLOCK_TOKENS);
    while (table.blocks.length < wanted) {
      const block = this.blocks.take();
      if (block !== undefined) table.blocks.push(block);
      else if (!this.tree.evict()) return false;
    }
    return true;
  }

  /** Offers the whole blocks of `ids[0, computed)` to others. Where somebody was first, that block replaces the table's own. */
  commit(table: Table, ids: readonly number[], computed: number): void {
    while ((table.node.depth + 1) * BLOCK_TOKENS <= computed) {
      const own = table.blocks[table.node.depth]!;
      const there = this.tree.child(table.node, ids);
      if (there === undefined) {
        table.node = this.tree.add(table.node, ids, own);
        continue;
      }
      this.tree.hold(there);
      table.blocks[table.node.depth] = there.block;
      this.tree.release(own);
      table.node = there;
    }
  }

  /** Gives up blocks beyond those for `tokens` tokens; shared ones stay. */
  shrink(table: Table, tokens: number): void {
    const keep = Math.max(table.node.depth, Math.ceil(tokens / BLOCK_TOKENS));
    while (table.blocks.length > keep) this.tree.release(table.blocks.pop()!);
  }

  /** Gives up all of it; what was committed stays cached until its room is needed. */
  close(table: Table): void {
    // Deepest first: a parent may be given up only after its children.
    for (const block of table.blocks.reverse()) this.tree.release(block);
    table.blocks = [];
    table.node = this.tree.root;
  }

  /** Forgets every prefix that nobody holds. */
  clear(): void {
    while (this.tree.evict());
  }
}
