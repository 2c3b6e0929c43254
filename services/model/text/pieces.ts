// Owns how a token of the vocabulary stands for bytes, by the decoder that tokenizer.json names.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { BYTE_OF_CHAR } from "./alphabet.ts";

export interface ByteRule {
  bytes(token: string): Uint8Array;
  /** The tokenizer writes one space before a text; decoding takes it away again. */
  dropsLeadingSpace: boolean;
}

/** GPT-2's alphabet; a token with a character outside it (an added token) is its own UTF-8. */
function byteLevel(token: string): Uint8Array {
  const bytes = Array.from(token, (char) => BYTE_OF_CHAR.get(char) ?? -1);
  return bytes.includes(-1) ? Buffer.from(token) : Uint8Array.from(bytes);
}

/** SentencePiece: "▁" is a space, "<0x0A>" is one byte of a character that has no token. */
function sentencePiece(token: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : Buffer.from(token.replaceAll("▁", " "));
}

interface Decoder {
  type?: string;
  decoders?: Decoder[];
  content?: string;
  prepend_scheme?: string;
  add_prefix_space?: boolean;
}

/** The rule of a tokenizer.json's decoder; EINVAL for kinds that no text-generating model we know uses. */
export function byteRule(decoder: unknown): ByteRule {
  const root = (decoder ?? {}) as Decoder;
  const parts = root.type === "Sequence" ? (root.decoders ?? []) : [root];
  const has = (type: string) => parts.find((part) => part.type === type);
  if (has("ByteLevel")) return { bytes: byteLevel, dropsLeadingSpace: false };
  const metaspace = has("Metaspace");
  if (metaspace) {
    const prefix = metaspace.prepend_scheme ?? (metaspace.add_prefix_space === false ? "never" : "always");
    return { bytes: sentencePiece, dropsLeadingSpace: prefix !== "never" };
  }
  if (has("ByteFallback")) return { bytes: sentencePiece, dropsLeadingSpace: has("Strip")?.content === " " };
  const found = parts.map((part) => part.type ?? "none").join(", ");
  throw new SomaError(
    "EINVAL",
    `the tokenizer's decoder is ${found}; ByteLevel, Metaspace and ByteFallback are supported`,
  );
}
