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

/** What the sequences of an engine took, all together. */
export interface Tally {
  promptTokens: number;
  computedTokens: number;
  cachedTokens: number;
}

export interface SchedulerEngine extends Engine {
  embed(ids: readonly number[], pooling: "mean" | "last"): Promise<number[]>;
  readonly tally: Tally;
}

/** `model` is a resident's id. */
export function schedulerEngine(client: Client, model: string, options: Options): SchedulerEngine {
  const tally = { promptTokens: 0, computedTokens: 0, cachedTokens: 0 };
  const count = (usage: Tally) => {
    for (const field of ["promptTokens", "computedTokens", "cachedTokens"] as const) tally[field] += usage[field];
  };
  // Each sequence in flight listens: dozens are no leak.
  setMaxListeners(0, options.signal);
  return {
    tally,
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
      const { logprobs = [], usage } = await client.stream(
        "scheduler.run",
        { model, ids: [...ids], mode: "score", from: ids.length - scored },
        options,
      ).result;
      if (logprobs.length < scored) {
        throw new SomaError("EIO", `the device scored ${logprobs.length} of ${scored} tokens: ask again`);
      }
      count(usage);
      return logprobs.slice(-scored);
    },
    async embed(ids, pooling) {
      const input = { model, ids: [...ids], mode: "embed" as const, pooling };
      const { vector, usage } = await client.stream("scheduler.run", input, options).result;
      if (vector === undefined) throw new SomaError("EIO", "the device gave no vector: ask again");
      count(usage);
      return vector;
    },
  };
}
