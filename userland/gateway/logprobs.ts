// Owns how log-probabilities look to an OpenAI client.
import type { Chunk } from "../../kernel/abi/syscalls.ts";

export type Told = Pick<Chunk<"model.generate">, "logprobs" | "tokens" | "topLogprobs">;

/** Bytes of a text; none where it is a part of a character. */
const bytesOf = (token: string) => (token.includes("\u{fffd}") ? null : [...Buffer.from(token)]);
const one = (token: string, logprob: number) => ({ token, logprob, bytes: bytesOf(token) });

export function chatLogprobs({ logprobs = [], tokens = [], topLogprobs = [] }: Told): object {
  const content = logprobs.map((logprob, i) => ({
    ...one(tokens[i]!, logprob),
    top_logprobs: (topLogprobs[i] ?? []).map((top) => one(top.token, top.logprob)),
  }));
  return { content, refusal: null };
}

/** `from`: characters of the answer before these tokens. */
export function completionLogprobs({ logprobs = [], tokens = [], topLogprobs = [] }: Told, from: number): object {
  let offset = from;
  return {
    tokens,
    token_logprobs: logprobs,
    top_logprobs: topLogprobs.map((tops) => Object.fromEntries(tops.map(({ token, logprob }) => [token, logprob]))),
    text_offset: tokens.map(({ length }) => (offset += length) - length),
  };
}
