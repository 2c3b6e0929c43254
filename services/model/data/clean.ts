// Owns what a text must be before a model learns from it: its form is mended, and what cannot be mended is refused with a reason.
import { franc } from "franc-min";
import type { Example } from "../text/records.ts";

export interface Rules {
  /** Characters of source and target together. */
  minChars: number;
  maxChars: number;
  /** ISO 639-3 codes; all languages when empty. */
  languages: readonly string[];
}

export type Refused = "short" | "long" | "garbled" | "language";

/** C0 and C1 controls but tab and newline, marks of direction, zero-width space, byte order mark: nobody sees them. */
const UNSEEN = /[\p{Cc}\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]/gu;
/** A lone surrogate, a private or unassigned character, or what decoders write for bytes that were no text. */
const GARBLED = /[\p{Cs}\p{Co}\p{Cn}\ufffd]/gu;
/** Of all characters; more of them is no text any more. */
const GARBLED_SHARE = 0.01;
/** Fewer characters say too little of their language. */
export const TELLING = 40;

/** One form for what looks the same: NFC, "\n", no unseen characters, no spaces at ends of lines, one empty line at most. */
export function tidy(text: string): string {
  return text
    .normalize("NFC")
    .replace(/\r\n?/g, "\n")
    .replace(UNSEEN, (sign) => (sign === "\n" || sign === "\t" ? sign : ""))
    .replace(/[ \t\u00a0]+$/gm, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

/** The example in tidy form, or why it is refused. */
export function clean(example: Example, rules: Rules): Example | Refused {
  const made = { ...example, source: tidy(example.source), target: tidy(example.target) };
  const text = textOf(made);
  const garbled = text.match(GARBLED)?.length ?? 0;
  if (garbled > GARBLED_SHARE * text.length) return "garbled";
  if (made.target === "" || text.length < rules.minChars) return "short";
  if (text.length > rules.maxChars) return "long";
  if (rules.languages.length > 0 && text.length >= TELLING && !rules.languages.includes(languageOf(text)))
    return "language";
  return made;
}

/** All that a model would read of it. */
export function textOf({ source, target }: Pick<Example, "source" | "target">): string {
  return source === "" ? target : `${source}\n${target}`;
}

/** ISO 639-3 by trigrams (Cavnar and Trenkle 1994) and script; "und" where nothing is likely. */
export function languageOf(text: string): string {
  return franc(text);
}
