// Owns the one-shot uses of the scheduler: a greedy answer, log-probabilities, a vector. Streams of text are in speech.ts.
import { setMaxListeners } from "node:events";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Engine } from "./evaluate.ts";

interface Options {
  for: Principal;
  traceparent?: string;
  signal: AbortSignal;
}

/** `model` is a resident's id. */
export function schedulerEngine(
  client: Client,
  model: string,
  options: Options,
): Engine & {
  embed(ids: readonly number[]): Promise<number[]>;
} {
  // Each sequence in flight listens: dozens are no leak.
  setMaxListeners(0, options.signal);
  return {
    async answer(ids, maxNew, stopIds) {
      const made: number[] = [];
      const input = { model, ids: [...ids], maxNew, stopIds: [...stopIds] };
      const complete = ({ newTokens }: { newTokens: number }) => made.length >= newTokens;
      const stream = client.stream("scheduler.run", input, { ...options, complete });
      // A sequence that was begun again elsewhere sends positions twice.
      for await (const { pos, ids: more } of stream) made.push(...more.slice(Math.max(0, made.length - pos)));
      await stream.result;
      return made;
    },
    async score(ids, scored) {
      const { logprobs = [] } = await client.stream(
        "scheduler.run",
        { model, ids: [...ids], mode: "score", from: ids.length - scored },
        options,
      ).result;
      if (logprobs.length < scored) {
        throw new SomaError("EIO", `the device scored ${logprobs.length} of ${scored} tokens: ask again`);
      }
      return logprobs.slice(-scored);
    },
    async embed(ids) {
      const { vector } = await client.stream("scheduler.run", { model, ids: [...ids], mode: "embed" }, options).result;
      if (vector === undefined) throw new SomaError("EIO", "the device gave no vector: ask again");
      return vector;
    },
  };
}
