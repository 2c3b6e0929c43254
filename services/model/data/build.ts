// Owns making a data set of lines: each is mended or refused, what is there already is left out, what is kept goes into shards.
import { createHash } from "node:crypto";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { SPLITS, type Split, sourceKey, splitOf } from "../builtin/split.ts";
import { type Example, parseLine, readLines } from "../text/records.ts";
import { clean, languageOf, type Refused, type Rules, TELLING, textOf } from "./clean.ts";
import type { HeldOut } from "./heldout.ts";
import { NearDuplicates } from "./minhash.ts";

export type Reason = "malformed" | Refused | "duplicate" | "near duplicate" | "held out";

/** What is known of a data set without reading it. */
export interface Card {
  /** Where it came from, in the words of whoever added it. */
  from: string;
  rules: BuildRules;
  /** Data sets whose tests were kept out of it. */
  against: readonly string[];
  read: number;
  kept: number;
  dropped: Partial<Record<Reason, number>>;
  /** The first ones of each reason, `<line>: why or what`. */
  examples: Partial<Record<Reason, string[]>>;
  splits: Record<Split, number>;
  characters: number;
  /** Characters of source and target: the shortest, the median, the longest. Estimated from LENGTHS of them. */
  lengths: [number, number, number];
  /** Of the first LANGUAGES kept that are long enough to tell: ISO 639-3 -> how many. */
  languages: Record<string, number>;
  tasks: Record<string, number>;
  /** By the tokenizer of the model named, where one was. */
  tokens?: { model: string; count: number };
}

export interface BuildRules extends Rules {
  /** Texts this similar to an earlier one are left out, 0..1; 0 leaves only equal ones out. */
  near: number;
}

export interface Building {
  from: string;
  rules: BuildRules;
  against: readonly string[];
  heldOut: HeldOut;
  /** Counts tokens for the card. */
  tokenizer?: { model: string; count: (text: string) => number };
  /** Takes a shard of JSONL away. */
  shard: (lines: Uint8Array, rows: number) => Promise<void>;
  progress: (counts: { read: number; kept: number }) => void;
}

/** Bytes of a shard, at least: one is in memory at a time. */
const SHARD = 8 * 1024 * 1024;
const SHOWN = 3;
const LANGUAGES = 1_000;
const LENGTHS = 100_000;
/** Lines between two breaths: the service must go on answering. */
const BREATH = 64;

/** Reads all lines, in order. The same lines and rules give the same shards. EINVAL when nothing is left. */
export async function build(pieces: AsyncIterable<string>, building: Building): Promise<Card> {
  const { rules, heldOut, tokenizer } = building;
  const card = emptyCard(building);
  const lengths: number[] = [];
  const seen = new Set<string>();
  const near = rules.near > 0 ? new NearDuplicates(rules.near) : undefined;
  let shard: string[] = [];
  let [size, tokens, asked] = [0, 0, 0];
  const ship = async () => {
    await building.shard(Buffer.from(shard.join("")), shard.length);
    [shard, size] = [[], 0];
  };
  for await (const { line, number } of readLines(pieces)) {
    card.read += 1;
    if (card.read % BREATH === 0) {
      building.progress(card);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const made = example(line, rules);
    if ("reason" in made) {
      drop(card, made.reason, `${number}: ${made.what}`);
      continue;
    }
    const why = known(made, seen, near, heldOut);
    const text = textOf(made);
    if (why !== undefined) {
      drop(card, why, `${number}: ${excerpt(text)}`);
      continue;
    }
    card.kept += 1;
    card.splits[splitOf(made)] += 1;
    card.characters += text.length;
    card.tasks[made.task] = (card.tasks[made.task] ?? 0) + 1;
    if (lengths.length < LENGTHS) lengths.push(text.length);
    if (text.length >= TELLING && asked++ < LANGUAGES) {
      const language = languageOf(text);
      card.languages[language] = (card.languages[language] ?? 0) + 1;
    }
    tokens += tokenizer?.count(text) ?? 0;
    const written = `${JSON.stringify(made)}\n`;
    shard.push(written);
    size += written.length;
    if (size >= SHARD) await ship();
  }
  if (card.kept === 0) throw new SomaError("EINVAL", `nothing is left of ${card.read} lines: ${sayDropped(card)}`);
  if (shard.length > 0) await ship();
  lengths.sort((a, b) => a - b);
  card.lengths = [lengths[0]!, lengths[lengths.length >> 1]!, lengths.at(-1)!];
  if (tokenizer) card.tokens = { model: tokenizer.model, count: tokens };
  return card;
}

/** "3 short, 1 duplicate": the most frequent first. */
export function sayDropped({ dropped, examples }: Pick<Card, "dropped" | "examples">): string {
  const counts = Object.entries(dropped).sort(([, a], [, b]) => b - a);
  if (counts.length === 0) return "there was none";
  const [first] = examples[counts[0]![0] as Reason] ?? [];
  return `${counts.map(([reason, count]) => `${count} ${reason}`).join(", ")}; the first is line ${first}`;
}

function emptyCard({ from, rules, against }: Building): Card {
  const splits = Object.fromEntries(SPLITS.map((split) => [split, 0])) as Record<Split, number>;
  const none = { read: 0, kept: 0, dropped: {}, examples: {}, characters: 0, languages: {}, tasks: {} };
  return { from, rules, against, ...none, splits, lengths: [0, 0, 0] };
}

function example(line: string, rules: Rules): Example | { reason: Reason; what: string } {
  let read: Example;
  try {
    read = parseLine(line, "line", "user");
  } catch (error) {
    // One broken line among many is counted and shown, not fatal.
    if (!(error instanceof SomaError)) throw error;
    return { reason: "malformed", what: error.message.replace(/^line: /, "") };
  }
  const made = clean(read, rules);
  return typeof made === "string" ? { reason: made, what: excerpt(textOf(read)) } : made;
}

/** Whether it is there already, or must not be. */
function known(made: Example, seen: Set<string>, near: NearDuplicates | undefined, heldOut: HeldOut) {
  const key = createHash("sha256")
    .update([made.task, sourceKey(made.source), sourceKey(made.target)].join("\u0000"))
    .digest("base64url")
    // 96 bits of it: a million texts collide once in 10^17 sets.
    .slice(0, 16);
  if (seen.has(key)) return "duplicate";
  if (heldOut.has(made)) return "held out";
  seen.add(key);
  return near?.near(textOf(made)) ? "near duplicate" : undefined;
}

function drop(card: Card, reason: Reason, example: string): void {
  card.dropped[reason] = (card.dropped[reason] ?? 0) + 1;
  const shown = card.examples[reason] ?? [];
  if (shown.length < SHOWN) card.examples[reason] = [...shown, example];
}

function excerpt(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
