// Owns regular expressions within JSON strings: the regular part of ECMAScript's, as JSON Schema wants it. What needs more than
// a grammar (lookaround, back references, word boundaries, properties of Unicode) is refused by name.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Node, Nodes } from "./node.ts";
import { ANY, character, complement, type Range } from "./text.ts";

const one = (char: string): Range => [char.codePointAt(0)!, char.codePointAt(0)!];
const DIGITS: Range[] = [[0x30, 0x39]];
const WORD: Range[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const LINES: Range[] = [one("\n"), one("\r"), [0x2028, 0x2029]];
const SPACE: Range[] = [
  ...([[9, 13], one(" "), [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], [0x2028, 0x2029]] as Range[]),
  ...([
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ] as Range[]),
];
const CLASSES: Readonly<Record<string, readonly Range[]>> = {
  ...{ d: DIGITS, D: complement(DIGITS), w: WORD, W: complement(WORD), s: SPACE, S: complement(SPACE) },
};
const NAMED: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", f: "\f", v: "\v", "0": "\0" };
/** Groups within groups, and characters in all. */
const DEPTH = 32;
const LENGTH = 2048;

/** The content of a JSON string that matches `source`, somewhere unless it is anchored. EINVAL says what is not supported. */
export function pattern(nodes: Nodes, source: string): Node {
  return new Parser(nodes, source).whole();
}

class Parser {
  private at = 0;
  private depth = 0;
  private readonly chars: readonly string[];

  constructor(
    private readonly nodes: Nodes,
    private readonly source: string,
  ) {
    this.chars = Array.from(source);
    if (this.chars.length > LENGTH) throw new SomaError("EINVAL", `a pattern is over ${LENGTH} characters: shorten it`);
  }

  whole(): Node {
    const anything = this.nodes.repeat(character(this.nodes, ANY));
    const options: Node[] = [];
    do {
      const before = this.take("^") ? this.nodes.done : anything;
      const middle = this.sequence();
      const after = this.take("$") ? this.nodes.done : anything;
      options.push(this.nodes.seq(before, middle, after));
    } while (this.take("|"));
    if (this.at < this.chars.length) this.refuse(`"${this.chars[this.at]}" at ${this.at}`);
    return this.nodes.alt(...options);
  }

  private sequence(): Node {
    const parts: Node[] = [];
    while (this.at < this.chars.length && !"|)$".includes(this.chars[this.at]!)) parts.push(this.counted());
    return this.nodes.seq(...parts);
  }

  private counted(): Node {
    const part = this.atom();
    const [least, most] = this.count() ?? [1, 1];
    // Lazy or not, the same texts match.
    if (least !== 1 || most !== 1) this.take("?");
    if (this.at < this.chars.length && "*+?".includes(this.chars[this.at]!))
      this.refuse("a quantifier of a quantifier");
    return this.nodes.repeat(part, least, most);
  }

  private count(): [number, number] | undefined {
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.take("?")) return [0, 1];
    const found = /^\{(\d+)(,(\d*))?\}/.exec(this.chars.slice(this.at, this.at + 24).join(""));
    if (!found) return undefined;
    this.at += found[0].length;
    const least = Number(found[1]);
    return [least, found[2] === undefined ? least : found[3] ? Number(found[3]) : Number.POSITIVE_INFINITY];
  }

  private atom(): Node {
    const char = this.chars[this.at++]!;
    if (char === ".") return character(this.nodes, complement(LINES));
    if (char === "(") return this.group();
    if (char === "[") return character(this.nodes, this.set());
    if (char === "\\") return character(this.nodes, this.escape());
    if ("^*+?{}".includes(char)) this.refuse(`"${char}" at ${this.at - 1}`);
    return character(this.nodes, [one(char)]);
  }

  private group(): Node {
    if (this.take("?") && !this.take(":")) this.refuse("a group that is not (?:...)");
    if (++this.depth > DEPTH) this.refuse(`more than ${DEPTH} groups within each other`);
    const options = [this.sequence()];
    while (this.take("|")) options.push(this.sequence());
    if (!this.take(")")) this.refuse(this.chars[this.at] === "$" ? "$ within a group" : "a group without its end");
    this.depth -= 1;
    return this.nodes.alt(...options);
  }

  private set(): readonly Range[] {
    const negated = this.take("^");
    const ranges: Range[] = [];
    while (!this.take("]")) {
      const low = this.member();
      const wide = this.chars[this.at] === "-" && this.chars[this.at + 1] !== "]";
      if (!wide || low.length !== 1 || low[0]![0] !== low[0]![1]) {
        ranges.push(...low);
        continue;
      }
      this.at += 1;
      const high = this.member();
      if (high.length !== 1 || high[0]![1] < low[0]![0]) this.refuse("a range that runs backwards");
      ranges.push([low[0]![0], high[0]![1]]);
    }
    return negated ? complement(ranges) : ranges;
  }

  private member(): readonly Range[] {
    const char = this.chars[this.at++];
    if (char === undefined) return this.refuse("a [ without its ]");
    if (char !== "\\") return [one(char)];
    return this.take("b") ? [one("\b")] : this.escape();
  }

  private escape(): readonly Range[] {
    const char = this.chars[this.at++] ?? this.refuse("a backslash at the end");
    const set = CLASSES[char];
    if (set) return set;
    if (NAMED[char] !== undefined) return [one(NAMED[char])];
    const code = /^(?:u\{([0-9a-f]+)\}|u([0-9a-f]{4})|x([0-9a-f]{2}))/i.exec(this.chars.slice(this.at - 1).join(""));
    if (code) {
      this.at += code[0].length - 1;
      const point = Number.parseInt((code[1] ?? code[2] ?? code[3])!, 16);
      if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) this.refuse(`\\${code[0]}`);
      return [[point, point]];
    }
    // A letter or digit means something that a grammar cannot say.
    if (/[A-Za-z0-9]/.test(char)) this.refuse(`\\${char}`);
    return [one(char)];
  }

  private take(char: string): boolean {
    if (this.chars[this.at] !== char) return false;
    this.at += 1;
    return true;
  }

  private refuse(what: string): never {
    throw new SomaError("EINVAL", `pattern ${JSON.stringify(this.source)}: ${what} is not supported`);
  }
}
