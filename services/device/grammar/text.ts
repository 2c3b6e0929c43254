// Owns how characters are spelt: ranges of code points as UTF-8, and as they stand within a JSON string.
import type { Node, Nodes } from "./node.ts";

/** Code points from, to; both included. */
export type Range = readonly [number, number];

const LAST = 0x10ffff;
export const ANY: readonly Range[] = [[0, LAST]];
/** JSON's own names of characters that must not stand in a string as they are. */
const SHORT: Readonly<Record<number, string>> = {
  ...{ 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\" },
};
const escaped = (point: number) => point < 0x20 || point === 0x22 || point === 0x5c;

/** All code points that are not in `ranges`. */
export function complement(ranges: readonly Range[]): Range[] {
  const gaps: Range[] = [];
  let from = 0;
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (low > from) gaps.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  if (from <= LAST) gaps.push([from, LAST]);
  return gaps;
}

/** One character of `ranges` within a JSON string, spelt in one way only: raw where it may be. */
export function character(nodes: Nodes, ranges: readonly Range[]): Node {
  const raw: Range[] = [];
  const special: Node[] = [];
  for (const [low, high] of ranges) {
    let from = low;
    for (const point of [...Array(0x20).keys(), 0x22, 0x5c]) {
      if (point < low || point > high) continue;
      if (point > from) raw.push([from, point - 1]);
      from = point + 1;
      special.push(nodes.text(SHORT[point] ?? `\\u${point.toString(16).padStart(4, "0")}`));
    }
    if (from <= high) raw.push([from, high]);
  }
  return nodes.alt(...special, ...raw.flatMap((range) => utf8(nodes, range)));
}

/** Any character within a JSON string, spelt in any way, but for surrogates: half of one would be no character. */
export function anyCharacter(nodes: Nodes): Node {
  const hex = nodes.bytes([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]);
  const backslash = nodes.text("\\");
  const short = nodes.bytes(...Array.from(Buffer.from('"\\/bfnrt'), (byte) => [byte, byte] as const));
  const outside = nodes.bytes([0x30, 0x39], [0x41, 0x43], [0x45, 0x46], [0x61, 0x63], [0x65, 0x66]);
  const below = nodes.seq(nodes.bytes([0x44, 0x44], [0x64, 0x64]), nodes.bytes([0x30, 0x37]));
  const long = nodes.seq(nodes.text("u"), nodes.alt(nodes.seq(outside, hex), below), nodes.repeat(hex, 2, 2));
  const raw = complement([
    [0, 0x1f],
    [0x22, 0x22],
    [0x5c, 0x5c],
  ]).flatMap((range) => utf8(nodes, range));
  return nodes.alt(...raw, nodes.seq(backslash, nodes.alt(short, long)));
}

/** The text as it stands between the quotes of a JSON string. */
export function literal(nodes: Nodes, text: string): Node {
  return nodes.seq(...Array.from(text, (char) => character(nodes, [[char.codePointAt(0)!, char.codePointAt(0)!]])));
}

/** A JSON string's content that is none of `texts`, every character raw. */
export function otherThan(nodes: Nodes, texts: readonly string[]): Node {
  const raw = (ranges: readonly Range[]) =>
    complement([...complement(ranges), [0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]]).flatMap((range) => utf8(nodes, range));
  const rest = nodes.repeat(nodes.alt(...raw(ANY)));
  const after = (tails: readonly string[]): Node => {
    const heads = [...new Set(tails.flatMap((tail) => tail.codePointAt(0) ?? []))];
    const same = heads.map((point) => {
      const head = String.fromCodePoint(point);
      const group = tails.filter((tail) => tail.startsWith(head));
      return nodes.seq(...raw([[point, point]]), after(group.map((tail) => tail.slice(head.length))));
    });
    const other = nodes.alt(...raw(complement(heads.map((point) => [point, point]))));
    return nodes.alt(...same, nodes.seq(other, rest), tails.includes("") ? nodes.never : nodes.done);
  };
  return after(texts.filter((text) => !Array.from(text).some((char) => escaped(char.codePointAt(0)!))));
}

/** The alternatives that spell a range of code points, surrogates left out. */
function utf8(nodes: Nodes, [low, high]: Range): Node[] {
  if (low > high) return [];
  const cut = (at: number) => [...utf8(nodes, [low, at]), ...utf8(nodes, [at + 1, high])];
  if (low <= 0xdfff && high >= 0xd800) return [...utf8(nodes, [low, 0xd7ff]), ...utf8(nodes, [0xe000, high])];
  for (const last of [0x7f, 0x7ff, 0xffff]) if (low <= last && high > last) return cut(last);
  // Of equal length: cut where the bytes behind one do not run through all their values.
  for (let bits = 6; bits < (high > 0xffff ? 24 : high > 0x7ff ? 18 : high > 0x7f ? 12 : 6); bits += 6) {
    const tail = 2 ** bits - 1;
    if (Math.floor(low / 2 ** bits) === Math.floor(high / 2 ** bits)) continue;
    if (low & tail) return cut(low | tail);
    if ((high & tail) !== tail) return cut(high - (high & tail) - 1);
  }
  const [from, to] = [low, high].map((point) => Buffer.from(String.fromCodePoint(point)));
  return [nodes.seq(...Array.from(from!, (byte, i) => nodes.bytes([byte, to![i]!])))];
}
