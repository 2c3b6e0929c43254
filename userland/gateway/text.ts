// Owns the answer to a text request, whole or as server-sent events; the shapes of chat and completions are parameters.
import { randomBytes } from "node:crypto";
import type { Input, Output } from "../../kernel/abi/syscalls.ts";
import type { Soma } from "../sdk/soma.ts";
import { answer } from "./errors.ts";

export type End = Output<"model.generate">;

export interface Shape {
  /** Of ids, such as "chatcmpl". */
  prefix: string;
  /** `object` of a whole answer and of a piece. */
  object: string;
  piece: string;
  /** Its `choices[0]` without index and finish_reason. */
  whole(text: string): object;
  delta(text: string): object;
  /** What comes before the first text, and with the finish_reason. */
  first?: object;
  last: object;
}

export interface Ask {
  soma: Soma;
  input: Input<"model.generate">;
  shape: Shape;
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
const reason = ({ finish }: End) => (finish === "stop" ? "stop" : "length");
const fingerprint = ({ model, version, numerics }: End) => `${model}@${version}-${numerics}`;
const head = (prefix: string, object: string, model: string | undefined) => ({
  id: `${prefix}-${randomBytes(12).toString("hex")}`,
  object,
  created: Math.floor(Date.now() / 1_000),
  model,
});

export async function whole({ soma, input, shape, signal, ttl }: Ask): Promise<object> {
  const stream = soma.model.generate(input, { signal, ttl });
  const text = await stream.text();
  const end = await stream.result;
  return {
    ...head(shape.prefix, shape.object, input.model),
    system_fingerprint: fingerprint(end),
    choices: [{ index: 0, ...shape.whole(text), logprobs: null, finish_reason: reason(end) }],
    usage: usage(end),
  };
}

/**
 * Resolves once there is something to send, so that what is refused gets its own status; what fails later ends the events
 * with one of OpenAI's errors. `over` is called once, whoever ends it.
 */
export async function events(
  { soma, input, shape, signal, ttl }: Ask,
  options: { includeUsage: boolean; judge: (error: unknown) => Promise<unknown>; over: () => void },
): Promise<AsyncGenerator<string>> {
  const stream = soma.model.generate(input, { signal, ttl });
  const chunks = stream[Symbol.asyncIterator]();
  let next = await chunks.next();
  const same = head(shape.prefix, shape.piece, input.model);
  const event = (body: object) => `data: ${JSON.stringify(body)}\n\n`;
  const piece = (choice: object, finish: string | null = null) =>
    event({ ...same, choices: [{ index: 0, ...choice, logprobs: null, finish_reason: finish }] });
  return (async function* () {
    try {
      if (shape.first) yield piece(shape.first);
      for (; !next.done; next = await chunks.next())
        if (next.value.text !== "") yield piece(shape.delta(next.value.text));
      const end = await stream.result;
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
