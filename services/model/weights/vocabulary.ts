// Owns turning a GGUF's vocabulary into tokenizer.json and its settings: byte-level BPE (gpt2) and SentencePiece BPE (llama).
import { setImmediate as breathe } from "node:timers/promises";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Gguf } from "./gguf.ts";

/** Kinds of token. */
const [CONTROL, USER_DEFINED] = [3, 4];
const DIGITS = { type: "Digits", individual_digits: true };
const byteLevel = (regex: boolean) => ({
  ...{ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: regex },
});
const split = (digits: string) => ({
  type: "Split",
  behavior: "Isolated",
  invert: false,
  pattern: {
    Regex:
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
      `\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  },
});
const smollm = { pre: [DIGITS, byteLevel(true)] };
const llama3 = { pre: [split("{1,3}"), byteLevel(false)], whole: true };
const qwen2 = { pre: [split(""), byteLevel(false)], normalizer: { type: "NFC" } };

/** How a text is cut before merging, by tokenizer.ggml.pre. `whole`: a piece that is a token stays one. */
const cuts: Record<string, { pre: object[]; normalizer?: object; whole?: boolean }> = {
  ...{ "gpt-2": { pre: [byteLevel(true)] }, default: { pre: [byteLevel(true)] } },
  ...{ smollm, starcoder: smollm, refact: smollm, "command-r": smollm },
  ...{ "llama-bpe": llama3, "llama-v3": llama3, llama3, qwen2, "deepseek-r1-qwen": qwen2 },
};
/** What ends a turn where the file does not say so, as llama.cpp has it. */
const TURN_ENDS = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

export interface Vocabulary {
  /** A string, because a big one would double in size with indents. */
  "tokenizer.json": string;
  "tokenizer_config.json": object;
  "generation_config.json": object;
}

/** EINVAL names what in the vocabulary is not supported. */
export async function vocabularyOf({ path, metadata }: Gguf): Promise<Vocabulary> {
  const get = <T>(key: string): T | undefined => metadata.get(`tokenizer.ggml.${key}`) as T | undefined;
  const refuse = (what: string): never => {
    throw new SomaError("EINVAL", `${path}: ${what}`);
  };
  const tokens = get<string[]>("tokens") ?? refuse("has no vocabulary (tokenizer.ggml.tokens)");
  const types = get<number[]>("token_type") ?? [];
  const kind = get<string>("model");
  const vocab = new Map(tokens.map((token, id) => [token, id]));
  const added = tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL;
    if (!special && types[id] !== USER_DEFINED) return [];
    return [{ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }];
  });
  const idOf = (key: string) => get<number>(`${key}_token_id`);
  const textOf = (key: string) => tokens[idOf(key) ?? -1];
  const common = { type: "BPE", dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };
  const bos = (get<boolean>("add_bos_token") ?? kind === "llama") ? textOf("bos") : undefined;
  const opening = bos === undefined ? [] : [{ SpecialToken: { id: bos, type_id: 0 } }];
  const sequence = (id: "A" | "B") => ({ Sequence: { id, type_id: 0 } });
  const outer = {
    ...{ version: "1.0", truncation: null, padding: null, added_tokens: added },
    post_processor: {
      type: "TemplateProcessing",
      single: [...opening, sequence("A")],
      pair: [...opening, sequence("A"), sequence("B")],
      special_tokens: bos === undefined ? {} : { [bos]: { id: bos, ids: [idOf("bos")], tokens: [bos] } },
    },
  };
  const inner = { ...common, vocab: Object.fromEntries(vocab) };
  let tokenizer: object;
  if (kind === "gpt2") {
    const pre = get<string>("pre") ?? "default";
    const cut = Object.hasOwn(cuts, pre) ? cuts[pre]! : refuse(`tokenizer.ggml.pre ${pre} is not supported`);
    const merges = get<string[]>("merges") ?? refuse("has no merges (tokenizer.ggml.merges)");
    tokenizer = {
      ...outer,
      normalizer: cut.normalizer ?? null,
      pre_tokenizer: { type: "Sequence", pretokenizers: cut.pre },
      decoder: byteLevel(true),
      model: {
        ...inner,
        ...{ unk_token: null, fuse_unk: false, byte_fallback: false, ignore_merges: cut.whole ?? false, merges },
      },
    };
  } else if (kind === "llama") {
    const prefix = get<boolean>("add_space_prefix") ?? true;
    const replace = (from: string, content: string) => ({ type: "Replace", pattern: { String: from }, content });
    const [front, strip] = prefix
      ? [[{ type: "Prepend", prepend: "▁" }], [{ type: "Strip", content: " ", start: 1, stop: 0 }]]
      : [[], []];
    const scores = get<number[]>("scores") ?? refuse("has no scores (tokenizer.ggml.scores)");
    tokenizer = {
      ...outer,
      normalizer: { type: "Sequence", normalizers: [...front, replace(" ", "▁")] },
      pre_tokenizer: null,
      decoder: {
        type: "Sequence",
        decoders: [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }, ...strip],
      },
      model: {
        ...inner,
        ...{ unk_token: textOf("unknown") ?? null, fuse_unk: true, byte_fallback: true, ignore_merges: false },
        merges: await mergesOf(vocab, scores, types),
      },
    };
  } else return refuse(`tokenizer.ggml.model ${kind} is not supported; use gpt2 or llama`);

  const turns = TURN_ENDS.flatMap((token) => (types[vocab.get(token) ?? -1] === CONTROL ? [vocab.get(token)!] : []));
  const ends = [idOf("eos"), idOf("eot") ?? turns[0]].filter((id) => id !== undefined);
  const template = metadata.get("tokenizer.chat_template");
  return {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": {
      ...{ bos_token: textOf("bos") ?? null, eos_token: textOf("eos") ?? null },
      ...(template === undefined ? {} : { chat_template: template }),
    },
    "generation_config.json": { eos_token_id: [...new Set(ends)] },
  };
}

/**
 * SentencePiece joins the neighbours whose union scores best; a list of merges in that order does the same.
 */
async function mergesOf(
  vocab: ReadonlyMap<string, number>,
  scores: readonly number[],
  types: readonly number[],
): Promise<string[][]> {
  const found: { pair: string[]; score: number; first: number; second: number }[] = [];
  for (const [token, id] of vocab) {
    // A big vocabulary takes a second: the service must show signs of life meanwhile.
    if (id % 4096 === 0) await breathe();
    if (types[id] === CONTROL) continue;
    for (let cut = 1; cut < token.length; cut++) {
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      const first = vocab.get(left);
      const second = first === undefined ? undefined : vocab.get(right);
      if (second !== undefined) found.push({ pair: [left, right], score: scores[id]!, first: first!, second });
    }
  }
  found.sort((a, b) => b.score - a.score || a.first - b.first || a.second - b.second);
  return found.map(({ pair }) => pair);
}
