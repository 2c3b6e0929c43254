// Owns which ids may come next at each node of one grammar, found by a walk through the vocabulary's trie and the grammar at
// once, and kept; and in how few ids a node can be completed.
import type { Node, Nodes } from "./node.ts";
import { compile } from "./schema.ts";
import type { Vocabulary } from "./trie.ts";

export interface Mask {
  /** One bit for each id. */
  all: Uint32Array;
  /** The same, by the node that they lead to. */
  groups: readonly { to: Node; bits: Uint32Array }[];
  /** Size of the largest of these nodes. */
  reach: number;
  bytes: number;
}

/** Bytes of masks that one grammar keeps. */
const KEPT_BYTES = 32 << 20;

export class Grammar {
  readonly start: Node;
  readonly nodes: Nodes;
  /** Those used last are last. */
  private readonly masks = new Map<Node, Mask>();
  private readonly spelt = new Map<Node, number[] | undefined>();
  private keptBytes = 0;

  /** EINVAL as `compile` says. */
  constructor(
    schema: unknown,
    readonly vocabulary: Vocabulary,
  ) {
    const { start, nodes } = compile(schema);
    this.start = start;
    this.nodes = nodes;
  }

  mask(node: Node): Mask {
    const mask = this.masks.get(node) ?? this.walk(node);
    if (!this.masks.delete(node)) this.keptBytes += mask.bytes;
    this.masks.set(node, mask);
    for (const [old, { bytes }] of this.masks) {
      if (this.keptBytes <= KEPT_BYTES || old === node) break;
      this.masks.delete(old);
      this.keptBytes -= bytes;
    }
    return mask;
  }

  /** Ids, at most so many, that complete a node; undefined when we know none. */
  completion(node: Node, most: number): readonly number[] | undefined {
    // So many bytes cannot be spelt in so few ids.
    if (node.size > most * this.vocabulary.longest) return undefined;
    if (!this.spelt.has(node)) this.spelt.set(node, this.vocabulary.spell(Uint8Array.from(this.nodes.shortest(node))));
    const ids = this.spelt.get(node);
    return ids !== undefined && ids.length <= most ? ids : undefined;
  }

  /** The node after an id; `never` when it may not come. */
  after(node: Node, id: number): Node {
    let next = node;
    for (const byte of this.vocabulary.bytesOf(id)) next = this.nodes.step(next, byte);
    return next;
  }

  private walk(node: Node): Mask {
    const { byte, depth, skip, first, order, nodes: count, ids } = this.vocabulary;
    const { nodes } = this;
    const words = Math.ceil(ids / 32);
    const groups = new Map<Node, Uint32Array>();
    const all = new Uint32Array(words);
    const path = [node];
    for (let at = 0; at < count; ) {
      const next = nodes.step(path[depth[at]! - 1]!, byte[at]!);
      if (next === nodes.never) {
        at = skip[at]!;
        continue;
      }
      path[depth[at]!] = next;
      for (let i = first[at]!; i < first[at + 1]!; i++) {
        let bits = groups.get(next);
        if (bits === undefined) groups.set(next, (bits = new Uint32Array(words)));
        const id = order[i]!;
        bits[id >>> 5]! |= 1 << (id & 31);
        all[id >>> 5]! |= 1 << (id & 31);
      }
      at += 1;
    }
    const reach = Math.max(0, ...[...groups.keys()].map(({ size }) => size));
    const bytes = 4 * words * (1 + groups.size);
    return { all, groups: [...groups].map(([to, bits]) => ({ to, bits })), reach, bytes };
  }
}
