// Owns grammars over bytes: immutable nodes, one object for all that are equal, and their derivatives. A node says what may
// still follow, so it is the whole state of a text. What nothing can complete is `never`, and no other node contains it.

export interface Node {
  readonly id: number;
  readonly kind: "never" | "done" | "bytes" | "seq" | "alt" | "repeat" | "ref";
  /** Fewest bytes that complete it: 0 where the text may end, Infinity for `never` alone. */
  readonly size: number;
  /** bytes: which ones. */
  readonly has?: Uint8Array;
  /** seq: two, of which the first is no seq. alt: two or more, none of them an alt. repeat: one. */
  readonly parts: readonly Node[];
  /** repeat: how often, `most` may be Infinity. */
  readonly least: number;
  readonly most: number;
  /** ref: what it stands for. */
  readonly name: string;
  /** What follows each byte, as far as somebody asked. */
  readonly steps: (Node | undefined)[];
}

type Shape = Pick<Node, "kind" | "size"> & Partial<Node>;

export class Nodes {
  readonly never: Node;
  /** Nothing more may follow. */
  readonly done: Node;
  private readonly known = new Map<string, Node>();
  private readonly bodies = new Map<string, Node>();

  /** `sizes` of the names that will be defined; a name that is not there is never completed. */
  constructor(private readonly sizes: ReadonlyMap<string, number> = new Map()) {
    this.never = this.make("never", { kind: "never", size: Number.POSITIVE_INFINITY });
    this.done = this.make("done", { kind: "done", size: 0 });
  }

  get count(): number {
    return this.known.size;
  }

  /** One byte of these ranges, both ends included. */
  bytes(...ranges: readonly (readonly [number, number])[]): Node {
    const has = new Uint8Array(256);
    for (const [from, to] of ranges) has.fill(1, from, to + 1);
    return this.oneOf(has);
  }

  text(text: string): Node {
    return this.seq(...Array.from(Buffer.from(text), (byte) => this.bytes([byte, byte])));
  }

  seq(...parts: readonly Node[]): Node {
    return parts.reduceRight((rest, part) => this.pair(part, rest), this.done);
  }

  alt(...parts: readonly Node[]): Node {
    const flat = new Map<number, Node>();
    let has: Uint8Array | undefined;
    for (const part of parts.flatMap((one) => (one.kind === "alt" ? one.parts : [one]))) {
      if (part.kind === "bytes") has = has ? has.map((one, byte) => one | part.has![byte]!) : part.has;
      else if (part !== this.never) flat.set(part.id, part);
    }
    if (has) {
      const one = this.oneOf(has);
      flat.set(one.id, one);
    }
    const all = [...flat.values()].sort((a, b) => a.id - b.id);
    if (all.length < 2) return all[0] ?? this.never;
    const size = Math.min(...all.map((one) => one.size));
    return this.make(`alt ${all.map(({ id }) => id)}`, { kind: "alt", size, parts: all });
  }

  optional(part: Node): Node {
    return this.alt(part, this.done);
  }

  /** `part` so often; it must not be empty itself, or it counts as often as the text ends wherever it may. */
  repeat(part: Node, least = 0, most = Number.POSITIVE_INFINITY): Node {
    if (part.size === 0) least = 0;
    if (most < least) return this.never;
    if (most === 0 || part === this.done) return this.done;
    if (part === this.never) return least === 0 ? this.done : this.never;
    if (least === 1 && most === 1) return part;
    const size = least * part.size;
    return this.make(`repeat ${part.id} ${least} ${most}`, { kind: "repeat", size, parts: [part], least, most });
  }

  /** Stands for what `define` says of the name, which may contain it again after at least one byte. */
  ref(name: string): Node {
    const size = this.sizes.get(name) ?? Number.POSITIVE_INFINITY;
    return size === Number.POSITIVE_INFINITY ? this.never : this.make(`ref ${name}`, { kind: "ref", size, name });
  }

  define(name: string, body: Node): void {
    this.bodies.set(name, body);
  }

  /** What may follow `byte` where `node` may follow. */
  step(node: Node, byte: number): Node {
    return (node.steps[byte] ??= this.derive(node, byte));
  }

  /** Some fewest bytes that complete it. */
  shortest(node: Node): number[] {
    const bytes: number[] = [];
    const open = [node];
    for (let next = open.pop(); next; next = open.pop()) {
      const { kind, size, parts, least, has, name } = next;
      if (size === 0) continue;
      if (kind === "bytes") bytes.push(has!.indexOf(1));
      else if (kind === "seq") open.push(parts[1]!, parts[0]!);
      else if (kind === "alt") open.push(parts.find((part) => part.size === size)!);
      else if (kind === "ref") open.push(this.bodies.get(name)!);
      else if (kind === "repeat") {
        const one = this.shortest(parts[0]!);
        for (let i = 0; i < least; i++) for (const byte of one) bytes.push(byte);
      } else throw new Error("nothing completes never");
    }
    return bytes;
  }

  private derive({ kind, parts, least, most, has, name }: Node, byte: number): Node {
    switch (kind) {
      case "bytes":
        return has![byte] ? this.done : this.never;
      case "seq": {
        const [first, rest] = parts as [Node, Node];
        const after = this.pair(this.step(first, byte), rest);
        return first.size === 0 ? this.alt(after, this.step(rest, byte)) : after;
      }
      case "alt": {
        const after = parts.map((part) => this.step(part, byte)).filter((part) => part !== this.never);
        // Mostly one at most.
        return after.length > 1 ? this.alt(...after) : (after[0] ?? this.never);
      }
      case "repeat":
        return this.pair(this.step(parts[0]!, byte), this.repeat(parts[0]!, Math.max(0, least - 1), most - 1));
      case "ref":
        return this.step(this.bodies.get(name)!, byte);
      default:
        return this.never;
    }
  }

  private pair(first: Node, rest: Node): Node {
    if (first === this.never || rest === this.never) return this.never;
    if (first === this.done) return rest;
    if (rest === this.done) return first;
    // Chains lean to the right, and may be long.
    const heads: Node[] = [];
    for (; first.kind === "seq"; first = first.parts[1]!) heads.push(first.parts[0]!);
    let all = this.join(first, rest);
    for (let i = heads.length - 1; i >= 0; i--) all = this.join(heads[i]!, all);
    return all;
  }

  private join(first: Node, rest: Node): Node {
    const size = first.size + rest.size;
    return this.make(`seq ${first.id} ${rest.id}`, { kind: "seq", size, parts: [first, rest] });
  }

  private oneOf(has: Uint8Array): Node {
    if (!has.includes(1)) return this.never;
    return this.make(`bytes ${Buffer.from(has).toString("latin1")}`, { kind: "bytes", size: 1, has });
  }

  private make(key: string, shape: Shape): Node {
    const found = this.known.get(key);
    if (found) return found;
    const node = { id: this.known.size, parts: [], least: 0, most: 0, name: "", steps: [], ...shape };
    this.known.set(key, node);
    return node;
  }
}
