// Owns the one view of a tokenizer.json that the model service uses: text to ids, ids to bytes, special tokens by name.
import * as huggingface from "@huggingface/tokenizers";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { Detokenizer } from "./detokenize.ts";
import { byteRule } from "./pieces.ts";

export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** What the tokenizer's own template puts before a text: usually the id of `bos`, sometimes nothing. */
  readonly opening: readonly number[];
  /** A decoded text loses one leading space: the tokenizer put it there (SentencePiece). */
  readonly dropsLeadingSpace: boolean;
  /** Text as it is: a special token that somebody wrote into it is letters, never the token. Nothing is put before it. */
  encode(text: string): number[];
  /** Text that we wrote, a rendered template: special tokens count, but not between `guard`s. */
  encodeTemplate(text: string): number[];
  /** Marks foreign text before it goes into a template, so that `encodeTemplate` reads no special token in it. */
  guard(text: string): string;
  /** The whole text; special tokens show only if `specials`. Equals the pieces of a Detokenizer, joined. */
  decode(ids: Iterable<number>, options?: { specials?: boolean }): string;
  /** The id of a token of the vocabulary by its exact name; EINVAL if there is none. */
  idOf(token: string): number;
  isSpecial(id: number): boolean;
  /** The bytes an id adds to the text, none for ids past the vocabulary (padding rows of an embedding). */
  bytesOf(id: number): Uint8Array;
}

/** What we use of the library, whose own declarations do not resolve under NodeNext. */
interface Library {
  encode(text: string, options?: { add_special_tokens: boolean }): { ids: number[] };
  get_vocab(): Map<string, number>;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

/** Splits a special token without changing what a reader sees; a noncharacter, so it is in no sensible text. */
const GUARD = "\u{fdd0}";

/** `json` is a parsed tokenizer.json. EINVAL names what in it we cannot run. */
export function loadTokenizer(json: unknown): Tokenizer {
  const file = json as { decoder?: unknown; added_tokens?: { id: number; content: string; special: boolean }[] };
  const rule = byteRule(file?.decoder);
  const library = open(json);
  const specials = new Map((file.added_tokens ?? []).filter((t) => t.special).map((t) => [t.id, t.content]));
  // The first character of a special token, where the rest of it follows: that is where a guard goes.
  const starts = [...specials.values()].map((s) => `${literally(head(s))}(?=${literally(s.slice(head(s).length))})`);
  const specialStart = new RegExp(starts.join("|") || "(?!)", "gu");
  const bytes = new Map<number, Uint8Array>();

  const tokenizer: Tokenizer = {
    vocabSize: 1 + [...library.get_vocab().values()].reduce((most, id) => Math.max(most, id), -1),
    opening: openingOf(library),
    dropsLeadingSpace: rule.dropsLeadingSpace,
    encode: (text) => tokenizer.encodeTemplate(tokenizer.guard(text)),
    encodeTemplate: (text) =>
      text.split(GUARD).flatMap((part) => (part === "" ? [] : library.encode(part, { add_special_tokens: false }).ids)),
    guard: (text) => text.replace(specialStart, (first) => first + GUARD),
    decode(ids, options = {}) {
      const stream = new Detokenizer(tokenizer, options);
      return stream.push(ids) + stream.flush();
    },
    idOf(token) {
      const id = library.token_to_id(token);
      if (id === undefined) throw new SomaError("EINVAL", `the model's tokenizer has no token ${token}`);
      return id;
    },
    isSpecial: (id) => specials.has(id),
    bytesOf(id) {
      const known = bytes.get(id);
      if (known) return known;
      const token = library.id_to_token(id);
      const made = token === undefined ? new Uint8Array() : rule.bytes(token);
      bytes.set(id, made);
      return made;
    },
  };
  return tokenizer;
}

function open(json: unknown): Library {
  try {
    return new huggingface.Tokenizer(json as object, { clean_up_tokenization_spaces: false }) as Library;
  } catch (cause) {
    throw new SomaError("EINVAL", `this is no usable tokenizer.json: ${(cause as Error).message}`, { cause });
  }
}

/** The template of the post-processor, seen from outside: what stands before a text that is one letter. */
function openingOf(library: Library): number[] {
  const bare = library.encode("a", { add_special_tokens: false }).ids;
  const full = library.encode("a").ids;
  const at = full.findIndex((_, i) => bare.every((id, j) => full[i + j] === id));
  return full.slice(0, Math.max(at, 0));
}

function head(token: string): string {
  return String.fromCodePoint(token.codePointAt(0)!);
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
