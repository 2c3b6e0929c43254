// Owns numbers within bounds as grammars. Bounds are compared as decimal digits, never as floats.
import type { Node, Nodes } from "./node.ts";

export interface Bounds {
  least: number | undefined;
  most: number | undefined;
  /** The bound itself does not count. */
  above: boolean;
  below: boolean;
}

/** Where nothing bounds a number it has at most so many digits: each such integer is exact. */
const DIGITS = 15;
const OPEN = 10n ** BigInt(DIGITS) - 1n;
/** Decimals of a number that has bounds, at least. */
const DECIMALS = 2;
/** More decimals in a bound than this are no bound that we can compare. */
export const MOST_DECIMALS = 20;

const digit = (nodes: Nodes) => nodes.bytes([0x30, 0x39]);

export function integer(nodes: Nodes, bounds: Bounds): Node {
  const [least, most] = limits(bounds, 0);
  return between(nodes, least, most, 0);
}

/** Without bounds any number of JSON's that is finite; within bounds integers, and numbers with a fixed count of decimals. */
export function number(nodes: Nodes, bounds: Bounds): Node {
  if (bounds.least === undefined && bounds.most === undefined) return free(nodes);
  const scale = Math.max(DECIMALS, decimalsOf(bounds.least ?? 0), decimalsOf(bounds.most ?? 0));
  const [least, most] = limits(bounds, scale);
  return nodes.alt(integer(nodes, bounds), between(nodes, least, most, scale));
}

/** Digits after the point, as the number is written out. */
export function decimalsOf(value: number): number {
  const [, fraction = "", exponent = "0"] = /^-?\d+(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value))!;
  return Math.max(0, fraction.length - Number(exponent));
}

function free(nodes: Nodes): Node {
  const digits = (least: number, most: number) => nodes.repeat(digit(nodes), least, most);
  const sign = nodes.optional(nodes.text("-"));
  const whole = nodes.alt(nodes.text("0"), nodes.seq(nodes.bytes([0x31, 0x39]), digits(0, DIGITS - 1)));
  const fraction = nodes.optional(nodes.seq(nodes.text("."), digits(1, DIGITS)));
  const plus = nodes.optional(nodes.alt(nodes.text("+"), nodes.text("-")));
  const exponent = nodes.optional(nodes.seq(nodes.alt(nodes.text("e"), nodes.text("E")), plus, digits(1, 2)));
  return nodes.seq(sign, whole, fraction, exponent);
}

/** The bounds times 10^scale, rounded inwards, both included. */
function limits({ least, most, above, below }: Bounds, scale: number): [bigint, bigint] {
  const open = OPEN * 10n ** BigInt(scale);
  let low = least === undefined ? undefined : -floor(-least, scale);
  let high = most === undefined ? undefined : floor(most, scale);
  if (above && least !== undefined && exact(least, scale)) low! += 1n;
  if (below && most !== undefined && exact(most, scale)) high! -= 1n;
  low ??= high! < -open ? high! - open : -open;
  high ??= low > open ? low + open : open;
  return [low, high];
}

const exact = (value: number, scale: number) => decimalsOf(value) <= scale;

/** floor(value * 10^scale). */
function floor(value: number, scale: number): bigint {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value))!;
  const shift = scale - fraction.length + Number(exponent);
  const digits = BigInt(`${sign}${whole}${fraction}`);
  if (shift >= 0) return digits * 10n ** BigInt(shift);
  const unit = 10n ** BigInt(-shift);
  const cut = digits / unit;
  return cut * unit > digits ? cut - 1n : cut;
}

/** Integers from `least` to `most`, written with a point before the last `scale` digits. */
function between(nodes: Nodes, least: bigint, most: bigint, scale: number): Node {
  if (least > most) return nodes.never;
  const parts: Node[] = [];
  if (least < 0n) {
    const [low, high] = [most < 0n ? -most : 1n, -least];
    parts.push(nodes.seq(nodes.text("-"), between(nodes, low, high, scale)));
  }
  const low = least > 0n ? least : 0n;
  // Of the shortest length all count that have a digit before the point, zeros included.
  for (let length = scale + 1; length <= Math.max(scale + 1, String(most).length); length++) {
    const first = length === scale + 1 ? 0n : 10n ** BigInt(length - 1);
    const last = 10n ** BigInt(length) - 1n;
    const [from, to] = [first > low ? first : low, last < most ? last : most];
    const pad = (value: bigint) => String(value).padStart(length, "0");
    if (from <= to) parts.push(sameLength(nodes, pad(from), pad(to), scale));
  }
  return nodes.alt(...parts);
}

function sameLength(nodes: Nodes, from: string, to: string, scale: number): Node {
  if (from === "") return nodes.done;
  const rest = (low: string, high: string) => {
    const after = sameLength(nodes, low, high, scale);
    return scale > 0 && low.length === scale ? nodes.seq(nodes.text("."), after) : after;
  };
  const [low, high] = [from.charCodeAt(0), to.charCodeAt(0)];
  const [lowRest, highRest] = [from.slice(1), to.slice(1)];
  const one = (first: number, last: number, tail: Node) =>
    first > last ? nodes.never : nodes.seq(nodes.bytes([first, last]), tail);
  const [zeros, nines] = ["0".repeat(lowRest.length), "9".repeat(lowRest.length)];
  if (low === high) return one(low, low, rest(lowRest, highRest));
  const [lowFull, highFull] = [lowRest === zeros, highRest === nines];
  return nodes.alt(
    lowFull ? nodes.never : one(low, low, rest(lowRest, nines)),
    one(lowFull ? low : low + 1, highFull ? high : high - 1, rest(zeros, nines)),
    highFull ? nodes.never : one(high, high, rest(zeros, highRest)),
  );
}
