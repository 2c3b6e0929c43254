// Owns a vocabulary as a trie of bytes, flat in shared memory, so that all threads of a model use one. Nodes stand in preorder:
// a walk runs through them in one direction, and a branch that nobody wants is jumped over.

/** The file: for each id in turn, u16 length (little-endian) and bytes; length 0 for ids that are no text. */
export class Vocabulary {
  /** Ids of the vocabulary; the model may have more, that stand for nothing. */
  readonly ids: number;
  readonly nodes: number;
  /** Bytes of the longest. */
  readonly longest: number;
  /** Whether each byte is an id of its own: then whatever text can be spelt in as many ids as it has bytes. */
  readonly spellsAll: boolean;
  /** By node: its byte, how deep it is (from 1), the first node that is not below it, where its ids begin in `order`. */
  readonly byte: Uint8Array;
  readonly depth: Uint16Array;
  readonly skip: Int32Array;
  readonly first: Int32Array;
  readonly order: Int32Array;
  /** By id: where its bytes begin in `bytes`. */
  private readonly starts: Int32Array;
  private readonly bytes: Uint8Array;

  constructor(readonly shared: SharedArrayBuffer) {
    const [ids, nodes, tokens, longest, spellsAll, bytes] = new Int32Array(shared, 0, HEAD) as unknown as number[];
    let at = 4 * HEAD;
    const words = (count: number) => {
      const view = new Int32Array(shared, at, count);
      at += 4 * count;
      return view;
    };
    this.ids = ids!;
    this.nodes = nodes!;
    this.longest = longest!;
    this.spellsAll = spellsAll === 1;
    this.skip = words(nodes!);
    this.first = words(nodes! + 1);
    this.order = words(tokens!);
    this.starts = words(ids! + 1);
    this.depth = new Uint16Array(shared, at, nodes!);
    this.byte = new Uint8Array(shared, at + 2 * nodes!, nodes!);
    this.bytes = new Uint8Array(shared, at + 3 * nodes!, bytes!);
  }

  static from(file: Uint8Array): Vocabulary {
    const texts: Uint8Array[] = [];
    for (let at = 0; at < file.length; ) {
      const length = file[at]! | (file[at + 1]! << 8);
      texts.push(file.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    const order = texts.flatMap((text, id) => (text.length > 0 ? [id] : []));
    order.sort((a, b) => Buffer.compare(texts[a]!, texts[b]!) || a - b);
    return write(texts, order);
  }

  bytesOf(id: number): Uint8Array {
    return this.bytes.subarray(this.starts[id], this.starts[id + 1]);
  }

  /** Fewest ids that spell `text`, undefined when none do; of several ways the one with the longest first id. */
  spell(text: Uint8Array): number[] | undefined {
    const fewest = new Float64Array(text.length + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Int32Array(text.length + 1);
    fewest[text.length] = 0;
    for (let from = text.length - 1; from >= 0; from--)
      this.prefixes(text, from, (id, end) => {
        if (fewest[end]! + 1 > fewest[from]! || fewest[end] === Number.POSITIVE_INFINITY) return;
        fewest[from] = fewest[end]! + 1;
        choice[from] = id;
      });
    if (fewest[0] === Number.POSITIVE_INFINITY) return undefined;
    const ids: number[] = [];
    for (let at = 0; at < text.length; at += this.bytesOf(ids.at(-1)!).length) ids.push(choice[at]!);
    return ids;
  }

  /** Tells each id that `text` has at `from`, shorter ones first, and where it ends. */
  private prefixes(text: Uint8Array, from: number, tell: (id: number, end: number) => void): void {
    const { byte, skip, first, order } = this;
    let [node, end] = [0, this.nodes];
    for (let at = from; at < text.length; at++) {
      while (node < end && byte[node] !== text[at]) node = skip[node]!;
      if (node >= end) return;
      if (first[node + 1]! > first[node]!) tell(order[first[node]!]!, at + 1);
      end = skip[node]!;
      node += 1;
    }
  }
}

const HEAD = 6;

function write(texts: readonly Uint8Array[], order: readonly number[]): Vocabulary {
  const [byte, depth, skip, first]: number[][] = [[], [], [], []];
  const open: number[] = [];
  let before = new Uint8Array();
  order.forEach((id, place) => {
    const text = texts[id]!;
    let common = 0;
    while (common < before.length && before[common] === text[common]) common += 1;
    while (open.length > common) skip![open.pop()!] = byte!.length;
    for (let i = common; i < text.length; i++) {
      open.push(byte!.length);
      byte!.push(text[i]!);
      depth!.push(i + 1);
      skip!.push(0);
      // Ids of a node come before all of those below it: what has none begins where the next one does.
      first!.push(place);
    }
    before = text as Uint8Array<ArrayBuffer>;
  });
  while (open.length > 0) skip![open.pop()!] = byte!.length;
  first!.push(order.length);
  const starts = [0];
  for (const { length } of texts) starts.push(starts.at(-1)! + length);
  const nodes = byte!.length;
  const words = [...[texts.length, nodes, order.length], longestOf(texts), spellsAll(texts), starts.at(-1)!];
  const head = 4 * (HEAD + nodes + (nodes + 1) + order.length + starts.length);
  const shared = new SharedArrayBuffer(head + 3 * nodes + starts.at(-1)!);
  new Int32Array(shared, 0, HEAD).set(words);
  const made = new Vocabulary(shared);
  made.skip.set(skip!);
  made.first.set(first!);
  made.order.set(order);
  made.byte.set(byte!);
  made.depth.set(depth!);
  new Int32Array(shared, 4 * (HEAD + nodes + nodes + 1 + order.length), starts.length).set(starts);
  const bytes = new Uint8Array(shared, head + 3 * nodes);
  for (const [id, text] of texts.entries()) bytes.set(text, starts[id]);
  return made;
}

const longestOf = (texts: readonly Uint8Array[]) => texts.reduce((most, { length }) => Math.max(most, length), 0);
const spellsAll = (texts: readonly Uint8Array[]) =>
  new Set(texts.flatMap((text) => (text.length === 1 ? [text[0]] : []))).size === 256 ? 1 : 0;
