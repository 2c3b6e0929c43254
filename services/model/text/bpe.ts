// Owns the training of a byte-level BPE tokenizer and the tokenizer.json that Hugging Face tools read. Pure, deterministic.
import { CHAR_OF_BYTE } from "./alphabet.ts";

/**
 * Where a merge may not cross: contractions, runs of Han, words (with their leading space), single digits, runs of
 * symbols, white space. Written with \p{White_Space} and literal ranges because `\s` and `\u` mean different things
 * to the Rust (Oniguruma) and JavaScript engines; this text means the same to both.
 */
const HAN = "㐀-䶿一-鿿";
export const PATTERN = [
  "'(?:[sdmt]|ll|ve|re)",
  `[${HAN}]+`,
  ` ?(?:(?![${HAN}])[\\p{L}\\p{M}])+`,
  "\\p{N}",
  " ?[^\\p{White_Space}\\p{L}\\p{M}\\p{N}]+",
  "\\p{White_Space}+(?!\\P{White_Space})",
  "\\p{White_Space}+",
].join("|");

export interface BpeOptions {
  /** Upper bound of ids, special tokens and the 256 bytes included. */
  vocabSize: number;
  /** Special tokens, ids 0, 1, 2, ...; the first one opens every sequence. */
  specials: readonly string[];
}

/** The part of tokenizer.json that we write; other files may hold more. */
export interface TokenizerJson {
  version: "1.0";
  added_tokens: { id: number; content: string; special: boolean; [flag: string]: unknown }[];
  model: { type: "BPE"; vocab: Record<string, number>; merges: string[]; [option: string]: unknown };
  [part: string]: unknown;
}

/**
 * Learns merges, most frequent pair first; ties go to the smaller ids, so equal texts give an equal file.
 * Ends early when no pair occurs twice: the vocabulary may be smaller than asked for.
 */
export function trainBpe(texts: Iterable<string>, { vocabSize, specials }: BpeOptions): TokenizerJson {
  const words = countWords(texts, specials.length);
  const bytes: Uint8Array[] = Array.from(CHAR_OF_BYTE, (_, byte) => Uint8Array.of(byte));
  const token = (id: number) => Array.from(bytes[id - specials.length]!, (byte) => CHAR_OF_BYTE[byte]).join("");
  const merges: string[] = [];
  const pairs = new PairCounts(words, (a, b) =>
    mayJoin(Buffer.concat([bytes[a - specials.length]!, bytes[b - specials.length]!])),
  );
  while (specials.length + bytes.length < vocabSize) {
    const best = pairs.best();
    if (!best) break;
    // "a b", not ["a", "b"]: readers older than 2024 know only this, and the alphabet has no space.
    merges.push(`${token(best[0])} ${token(best[1])}`);
    bytes.push(Buffer.concat([bytes[best[0] - specials.length]!, bytes[best[1] - specials.length]!]));
    pairs.merge(best, specials.length + bytes.length - 1);
  }
  const names = [...specials, ...bytes.map((_, i) => token(specials.length + i))];
  return tokenizerJson(Object.fromEntries(names.map((name, id) => [name, id])), merges, specials);
}

interface Word {
  ids: number[];
  count: number;
}

function countWords(texts: Iterable<string>, firstByte: number): Word[] {
  const counts = new Map<string, number>();
  const pattern = new RegExp(PATTERN, "gu");
  for (const text of texts) {
    for (const [word] of text.matchAll(pattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, count]) => ({
    ids: Array.from(Buffer.from(word), (byte) => byte + firstByte),
    count,
  }));
}

/**
 * A token is whole characters or a part of one, never an end of one glued to the start of the next: Chinese then spends no
 * merges on halves, and generated text falls into characters at token borders.
 */
function mayJoin(bytes: Uint8Array): boolean {
  const isTail = (byte: number) => (byte & 0xc0) === 0x80;
  const lengthOf = (lead: number) => (lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
  if (bytes.every(isTail)) return bytes.length < 4;
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at]!;
    if (isTail(lead)) return false;
    const end = at + lengthOf(lead);
    if (!bytes.subarray(at + 1, end).every(isTail)) return false;
    if (end > bytes.length) return at === 0;
    at = end;
  }
  return true;
}

/** Counts of neighbouring ids over all words, kept up to date merge by merge. */
class PairCounts {
  /** key = left * 65536 + right, so that a smaller key is a smaller pair. */
  private readonly counts = new Map<number, number>();
  private readonly places = new Map<number, Set<number>>();
  private readonly words: Word[];
  private readonly allowed: (a: number, b: number) => boolean;

  constructor(words: Word[], allowed: (a: number, b: number) => boolean) {
    this.words = words;
    this.allowed = allowed;
    words.forEach((word, at) => {
      this.add(word, at, 1);
    });
  }

  best(): [number, number] | undefined {
    let bestKey = -1;
    let bestCount = 1;
    for (const [key, count] of this.counts) {
      if (count > bestCount || (count === bestCount && count > 1 && key < bestKey)) {
        bestKey = key;
        bestCount = count;
      }
    }
    return bestKey < 0 ? undefined : [Math.floor(bestKey / 65536), bestKey % 65536];
  }

  merge([left, right]: [number, number], id: number): void {
    for (const at of [...this.places.get(left * 65536 + right)!]) {
      const word = this.words[at]!;
      this.add(word, at, -1);
      const ids: number[] = [];
      for (let i = 0; i < word.ids.length; i++) {
        const joins = word.ids[i] === left && word.ids[i + 1] === right;
        ids.push(joins ? id : word.ids[i]!);
        if (joins) i++;
      }
      word.ids = ids;
      this.add(word, at, 1);
    }
  }

  private add({ ids, count }: Word, at: number, sign: 1 | -1): void {
    for (let i = 0; i + 1 < ids.length; i++) {
      const key = ids[i]! * 65536 + ids[i + 1]!;
      const known = this.counts.get(key);
      if (known === undefined && !this.allowed(ids[i]!, ids[i + 1]!)) continue;
      const total = (known ?? 0) + sign * count;
      if (total > 0) this.counts.set(key, total);
      else this.counts.delete(key);
      const places = this.places.get(key) ?? new Set();
      if (sign > 0) places.add(at);
      else places.delete(at);
      this.places.set(key, places);
    }
  }
}

function tokenizerJson(vocab: Record<string, number>, merges: string[], specials: readonly string[]): TokenizerJson {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const [bos] = specials;
  const opening = bos === undefined ? [] : [{ SpecialToken: { id: bos, type_id: 0 } }];
  const sequence = (id: "A" | "B") => ({ Sequence: { id, type_id: 0 } });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, ...plain })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: PATTERN }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [...opening, sequence("A")],
      pair: [...opening, sequence("A"), sequence("B")],
      special_tokens: bos === undefined ? {} : { [bos]: { id: bos, ids: [0], tokens: [bos] } },
    },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}
