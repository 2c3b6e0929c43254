// Owns the effects that the machines name: promises and actions that touch the world.
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { fromCallback, fromPromise } from "xstate";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { ALL, subjects } from "../../kernel/abi/subjects.ts";
import type { Bus } from "../../kernel/ipc/bus.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import { storeBlob } from "./blobs.ts";
import { WEIGHTS } from "./folders.ts";
import { type Job, jobMachine } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import { modelMachine } from "./machine.ts";
import { type RequestInput, requestMachine } from "./request.ts";
import type { Requests } from "./requests.ts";
import { type Loaded, type ResidentInput, residentMachine } from "./resident.ts";
import type { Residents } from "./residents.ts";
import type { Training } from "./training.ts";

/** The resident machine; `catalog` comes later than the residents that it is made with. */
export function residentLogic(
  ctx: Pick<Context, "client" | "log">,
  residents: () => Residents,
  aliased: (id: string) => boolean,
) {
  return residentMachine.provide({
    actors: {
      load: fromPromise(({ input }: { input: ResidentInput }) => load(ctx, residents(), input.id)),
      unload: fromPromise(({ input }: { input: ResidentInput }) => unload(ctx, input.id)),
    },
    guards: { unwanted: ({ context }) => !aliased(context.id) },
  });
}

/** Loads by path; where a device has another disk, the weights go to memory once and are fetched from there. */
async function load({ client }: Pick<Context, "client">, residents: Residents, id: string): Promise<Loaded> {
  const { dir, config, bytes, sha256, dtype } = residents.wanted(id);
  const path = join(dir, WEIGHTS);
  const input = (blob?: string) => ({
    model: id,
    config,
    files: { dir, weights: { path, sha256, bytes, ...(blob ? { blob } : {}) } },
    dtype,
  });
  try {
    return await client.call("device.load", input());
  } catch (error) {
    const elsewhere = isSomaError(error, "ENOENT") && existsSync(path);
    const full = isSomaError(error, "ENOMEM") || isSomaError(error, "EAGAIN");
    // What nobody uses and no alias names makes room.
    if (!elsewhere && !(full && (await residents.makeRoom()))) throw error;
    return await client.call(
      "device.load",
      input(elsewhere ? await storeBlob(client, createReadStream(path), bytes) : undefined),
    );
  }
}

async function unload({ client, log }: Pick<Context, "client" | "log">, id: string): Promise<void> {
  try {
    await client.call("device.unload", { model: id }, { instance: ALL });
  } catch (error) {
    // Its device is gone, and the model with it; or it was there no more.
    if (!(error instanceof SomaError)) throw error;
    log.warn({ model: id, code: error.code }, "not unloaded");
  }
}

/** A device that goes down takes its models with it. */
export function watchDevices(bus: Bus, residents: Residents): void {
  bus.subscribe(`${subjects.event("kernel", "down")}.device.>`, () => residents.down());
}

export interface Parts {
  ctx: Pick<Context, "server" | "crash" | "log">;
  requests: Requests;
  jobs: Jobs;
  training: Training;
}

/** The whole machine with its effects. */
export function modelLogic({ ctx, requests, jobs, training }: Parts) {
  const request = requestMachine.provide({
    actors: {
      plan: fromPromise(async ({ input }: { input: RequestInput }) => requests.plan(input.mid)),
      need: fromPromise(({ input }: { input: { mid: string } }) => requests.need(input.mid)),
      run: fromPromise(({ input }: { input: { mid: string } }) => requests.run(input.mid)),
    },
    actions: {
      reply: (_, { mid, output }) => ctx.server.reply(mid, output),
      refuse: (_, { mid, error }) => ctx.server.fail(mid, error),
      forget: (_, { mid }) => requests.forget(mid),
    },
  });
  const job = jobMachine.provide({
    actors: {
      prepare: fromPromise(({ input, signal }: { input: Job; signal: AbortSignal }) => training.prepare(input, signal)),
      evaluate: fromPromise(({ input, signal }: { input: Job; signal: AbortSignal }) =>
        training.evaluate(input, signal),
      ),
      register: fromPromise(({ input, signal }: { input: Job; signal: AbortSignal }) =>
        training.register(input, signal),
      ),
      deploy: fromPromise(({ input }: { input: Job }) => training.deploy(input)),
      train: fromCallback(({ input, sendBack }: { input: Job; sendBack: (event: never) => void }) => {
        const stop = new AbortController();
        const send = sendBack as (event: object) => void;
        training
          .train(input, stop.signal, {
            asked: (id) => send({ type: "asked", request: id }),
            progress: (progress) => send({ type: "progress", progress }),
          })
          .then(
            (output) => send({ type: "trained", output }),
            (error) => send({ type: "broken", error }),
          );
        return () => stop.abort();
      }) as never,
    },
    actions: {
      save: ({ context }, { state }) => jobs.save(context, state),
      note: ({ context }, { state }) => jobs.note(context, state),
      crash: (_, { error }) => ctx.crash(error),
      // Only once the row that names the newer one is stored: a crash before must still find the older.
      drop: ({ context: { id, owner } }, { blob }) =>
        void Promise.resolve()
          .then(() => jobs.stored(id))
          .then(() => training.drop([blob], owner))
          .catch(ctx.crash),
      clean: ({ context }) => void training.clean(context).catch(ctx.crash),
    },
  });
  return modelMachine.provide({
    actors: { request, job },
    actions: {
      refuse: (_, { mid, event }) => {
        if (mid === undefined) throw new Error(`the model machine was sent ${event}, which no state takes`);
        ctx.server.fail(mid, new SomaError("EBUSY", "the model service does not take requests now: try again"));
      },
    },
  });
}
