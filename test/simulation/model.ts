// Owns the wiring of the model service in the simulation: its machines, requests and journal of jobs; models and training are stand-ins.
import { createActor } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Request } from "../../kernel/ipc/request.ts";
import { DEFER } from "../../kernel/ipc/server.ts";
import { modelLogic } from "../../services/model/effects.ts";
import { Jobs } from "../../services/model/jobs.ts";
import { jobId, requestId } from "../../services/model/machine.ts";
import { Speech } from "../../services/model/speech.ts";
import { LOADS } from "./device.ts";
import { serviceProgram } from "./service.ts";

interface Live {
  request: Request;
  model: string;
  speech: Speech;
}

/** Each id is a word of its own. */
const TEXT = {
  tokenizer: { bytesOf: (id: number) => Buffer.from(`${id} `), isSpecial: () => false, dropsLeadingSpace: false },
  stopIds: [],
} as never;

const SAMPLE = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

export const model = serviceProgram(async ({ world, client, server, log, crash, bucket }) => {
  const live = new Map<string, Live>();
  const pause = (from: number, to: number) =>
    new Promise((resolve) => setTimeout(resolve, world.random.between(from, to)));

  const requests = {
    plan: async (mid: string) => ({ id: live.get(mid)!.model }),
    /** Loading what is there already is answered at once. */
    need: async (mid: string) => {
      const { model } = live.get(mid)!;
      await client.call("device.load", {
        model,
        ...LOADS[model]!,
        files: { dir: "", weights: { path: "", sha256: "", bytes: 0 } },
      });
    },
    run: async (mid: string) => {
      const { request, model, speech } = live.get(mid)!;
      const { principal, signal, left } = request;
      const emit = (chunk: object) => request.emit(chunk);
      return await speech.run({ model, numerics: "sim", principal, signal, left, emit });
    },
    settled: () => {},
    forget: (mid: string) => void live.delete(mid),
  };

  const models = bucket("models");
  const journal = bucket("journal");
  const training = {
    prepare: async () => {
      await pause(5, 50);
      return { data: "blob:d", dataHash: "h", spec: {}, note: "" };
    },
    train: async (
      { id, checkpoint }: { id: string; checkpoint?: string },
      signal: AbortSignal,
      tell: { asked: (id: string) => void; progress: (progress: object) => void },
    ) => {
      tell.asked(`${id}-run`);
      for (let step = Number(checkpoint ?? 0) + 1; step <= 5; step++) {
        await pause(50, 300);
        if (signal.aborted) throw new SomaError("ECANCELED", "stopped");
        if (world.random.chance(0.03)) throw new SomaError("ESERVICEDOWN", "device-1 went down during the request");
        tell.progress({
          step,
          steps: 5,
          loss: 1 / step,
          lr: 1,
          tokens: 1,
          tokensPerSecond: 1,
          etaMs: 1,
          checkpoint: String(step),
        });
      }
      return { weights: "blob:w", bytes: 1, steps: 5, loss: 0.2, stopped: "steps" };
    },
    evaluate: async () => {
      await pause(5, 50);
      return {};
    },
    /** A version for each job, once: a repeat finds it. */
    register: async ({ id }: { id: string }) => {
      if ((await models.get(id)) === undefined) await models.put(id, { job: id });
      return 1;
    },
    deploy: async () => {},
    drop: async () => {},
    clean: async () => {},
  };

  const jobs = await Jobs.open(
    {
      bucket: bucket("jobs") as never,
      append: async (_subject, value, dedupe) => {
        if ((await journal.get(dedupe)) === undefined) await journal.put(dedupe, value);
      },
      now: Date.now,
      crash,
    },
    entries(await journal.entries()),
  );
  const machine = createActor(
    modelLogic({ ctx: { server, crash, log }, requests: requests as never, jobs, training: training as never }),
    { id: "model" },
  );
  machine.subscribe({ error: crash });
  machine.start();
  const child = (id: string) =>
    machine.getSnapshot().children[id] as { send: (event: { type: "cancel" | "stop" }) => void } | undefined;
  for (const job of jobs.unfinished()) machine.send({ type: "job", job });

  return {
    handlers: {
      generate: (input: { model: string; prompt: string; maxTokens: number }, request: Request) => {
        const prompt = input.prompt.split(" ").map(Number);
        const { model, maxTokens: maxNew } = input;
        const plan = {
          prompt,
          given: [],
          numerics: undefined,
          approximate: false,
          sample: SAMPLE,
          maxNew,
          stop: [],
          asked: {},
        };
        live.set(request.mid, { request, model, speech: new Speech(client, TEXT, plan) });
        request.signal.addEventListener("abort", () => child(requestId(request.mid))?.send({ type: "cancel" }), {
          once: true,
        });
        machine.send({ type: "request", mid: request.mid, call: "generate" });
        return DEFER;
      },
      train: async (input: never, request: Request) => {
        const { id, job } = await jobs.submit(input, request.principal, request.key);
        if (job) machine.send({ type: "job", job });
        return { job: id };
      },
      stop: ({ job }: { job: string }) => {
        child(jobId(job))?.send({ type: "stop" });
        return jobs.find(job, "person");
      },
    },
    stop: async () => {
      const suspended = jobs.suspend();
      machine.stop();
      await suspended;
    },
  } as never;
});

async function* entries<T>(all: readonly T[]): AsyncGenerator<T> {
  yield* all;
}
