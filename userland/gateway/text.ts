// Owns the answer to a text request, whole or as server-sent events; the shapes of chat and completions are parameters.
import { randomBytes } from "node:crypto";
import type { Input, Output } from "../../kernel/abi/syscalls.ts";
import type { Soma } from "../sdk/soma.ts";
import { answer } from "./errors.ts";
import type { Told } from "./logprobs.ts";

export type End = Output<"model.generate">;
type Calls = NonNullable<End["toolCalls"]>;

/** What a body asks for. */
export interface Asked {
  input: Input<"model.generate">;
  stream: boolean;
  includeUsage: boolean;
  /** Calls of tools that an answer may make. */
  mostCalls: number;
}

export interface Shape {
  /** Of ids, such as "chatcmpl". */
  prefix: string;
  /** `object` of a whole answer and of a piece. */
  object: string;
  piece: string;
  /** Its `choices[0]` without index and finish_reason. */
  whole(text: string, calls: Calls): object;
  delta(text: string): object;
  /** What comes before the first text, and with the finish_reason. */
  first?: object;
  last: object;
  /** A piece with calls of tools. */
  calls(calls: Calls): object;
  /** `from`: characters before. */
  logprobs(chunk: Told, from: number): object;
}

export interface Ask {
  soma: Soma;
  input: Input<"model.generate">;
  shape: Shape;
  mostCalls: number;
  signal: AbortSignal;
  ttl: number;
}

const usage = ({ usage: { promptTokens, newTokens, cachedTokens } }: End) => ({
  prompt_tokens: promptTokens,
  completion_tokens: newTokens,
  total_tokens: promptTokens + newTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
});
/** Out of room for KV is, to a client, out of length. */
const reason = ({ finish }: End) => (finish === "toolCalls" ? "tool_calls" : finish === "stop" ? "stop" : "length");
const fingerprint = ({ model, version, numerics }: End) => `${model}@${version}-${numerics}`;
const head = (prefix: string, object: string, model: string | undefined) => ({
  id: `${prefix}-${randomBytes(12).toString("hex")}`,
  object,
  created: Math.floor(Date.now() / 1_000),
  model,
});

export async function whole({ soma, input, shape, mostCalls, signal, ttl }: Ask): Promise<object> {
  const stream = soma.model.generate(input, { signal, ttl });
  let text = "";
  const told = { logprobs: [], tokens: [], topLogprobs: [] } as Required<Told>;
  for await (const chunk of stream) {
    text += chunk.text;
    told.logprobs.push(...(chunk.logprobs ?? []));
    told.tokens.push(...(chunk.tokens ?? []));
    told.topLogprobs.push(...(chunk.topLogprobs ?? []));
  }
  const end = await stream.result;
  const calls = end.toolCalls?.slice(0, mostCalls) ?? [];
  const logprobs = input.logprobs === undefined ? null : shape.logprobs(told, 0);
  return {
    ...head(shape.prefix, shape.object, input.model),
    system_fingerprint: fingerprint(end),
    choices: [{ index: 0, ...shape.whole(text, calls), logprobs, finish_reason: reason(end) }],
    usage: usage(end),
  };
}

/**
 * Resolves once there is something to send, so that what is refused gets its own status; what fails later ends the events
 * with one of OpenAI's errors. `over` is called once, whoever ends it.
 */
export async function events(
  { soma, input, shape, mostCalls, signal, ttl }: Ask,
  options: { includeUsage: boolean; judge: (error: unknown) => Promise<unknown>; over: () => void },
): Promise<AsyncGenerator<string>> {
  const stream = soma.model.generate(input, { signal, ttl });
  const chunks = stream[Symbol.asyncIterator]();
  let next = await chunks.next();
  // The first chunk only says that the model is there.
  while (!next.done && next.value.ids.length === 0 && next.value.text === "") next = await chunks.next();
  const same = head(shape.prefix, shape.piece, input.model);
  const event = (body: object) => `data: ${JSON.stringify(body)}\n\n`;
  const piece = (choice: object, finish: string | null = null, logprobs: object | null = null) =>
    event({ ...same, choices: [{ index: 0, ...choice, logprobs, finish_reason: finish }] });
  let sent = 0;
  return (async function* () {
    try {
      if (shape.first) yield piece(shape.first);
      for (; !next.done; next = await chunks.next())
        if (next.value.text !== "" || next.value.logprobs?.length) {
          const logprobs = next.value.logprobs?.length ? shape.logprobs(next.value, sent) : null;
          sent += next.value.text.length;
          yield piece(shape.delta(next.value.text), null, logprobs);
        }
      const end = await stream.result;
      if (end.toolCalls) yield piece(shape.calls(end.toolCalls.slice(0, mostCalls)));
      yield piece(shape.last, reason(end));
      if (options.includeUsage) yield event({ ...same, choices: [], usage: usage(end) });
      yield "data: [DONE]\n\n";
    } catch (error) {
      const told = answer(await options.judge(error));
      if (told === undefined) throw error;
      yield event(told.body);
    } finally {
      stream.cancel();
      options.over();
    }
  })();
}

/** A response body that asks for the next event only when the socket has room. `left` is called when the client has gone. */
export function body(pieces: AsyncGenerator<string>, left: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    async cancel() {
      left();
      await pieces.return(undefined);
    },
  });
}
