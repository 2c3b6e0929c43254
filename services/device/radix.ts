// Owns the tree of prefixes whose KV is there: one node for each whole block of tokens, found by the tokens from the root on.
// The tree itself holds each of its blocks once; nodes that nobody else holds are given up, least recently used leaf first.
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { Blocks } from "./blocks.ts";

export interface Node {
  id: number;
  parent: Node | null;
  /** Tokens of this block, comma separated. */
  key: string;
  block: number;
  depth: number;
  children: Map<string, Node>;
}

export class Radix {
  readonly root: Node = { id: 0, parent: null, key: "", block: -1, depth: 0, children: new Map() };
  /** Leaves that only the tree holds, oldest first. A parent enters when its last child went: shared trunks outlive twigs. */
  private readonly idle = new Map<number, Node>();
  private readonly nodes = new Map<number, Node>();
  private nextId = 1;
  /** Blocks that only the tree holds: what eviction can free. */
  private only = 0;

  constructor(private readonly blocks: Blocks) {}

  get evictable(): number {
    return this.only;
  }

  /** The child of `node` that holds these tokens, `ids[depth * 16 ..]`. */
  child(node: Node, ids: readonly number[]): Node | undefined {
    return node.children.get(keyAt(ids, node.depth));
  }

  /** Adds a computed block below `parent`, and holds it. The caller holds it as well. */
  add(parent: Node, ids: readonly number[], block: number): Node {
    const key = keyAt(ids, parent.depth);
    const node: Node = { id: this.nextId++, parent, key, block, depth: parent.depth + 1, children: new Map() };
    parent.children.set(key, node);
    this.nodes.set(block, node);
    this.idle.delete(parent.id);
    this.blocks.hold(block);
    return node;
  }

  hold(node: Node): void {
    if (this.blocks.held(node.block) === 1) this.only -= 1;
    this.blocks.hold(node.block);
    this.idle.delete(node.id);
  }

  /** Gives up a hold on a block, of the tree or not. */
  release(block: number): void {
    const left = this.blocks.release(block);
    const node = this.nodes.get(block);
    if (left !== 1 || node === undefined) return;
    this.only += 1;
    if (node.children.size === 0) this.idle.set(node.id, node);
  }

  /** Frees one block, or returns false when somebody holds each. */
  evict(): boolean {
    const [node] = this.idle.values();
    if (node === undefined) return false;
    const parent = node.parent!;
    parent.children.delete(node.key);
    this.idle.delete(node.id);
    this.nodes.delete(node.block);
    this.only -= 1;
    this.blocks.release(node.block);
    if (parent !== this.root && parent.children.size === 0 && this.blocks.held(parent.block) === 1) {
      this.idle.set(parent.id, parent);
    }
    return true;
  }
}

/** Names the tokens of whole block number `depth`. */
export function keyAt(ids: readonly number[], depth: number): string {
  return ids.slice(depth * BLOCK_TOKENS, (depth + 1) * BLOCK_TOKENS).join();
}
