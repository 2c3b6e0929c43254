// Owns the effects that the machines name: promises and actions that touch the world.
import { fromCallback, fromPromise } from "xstate";
import { decode } from "../../kernel/abi/codec.ts";
import { SomaError } from "../../kernel/abi/errors.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import type { Bus } from "../../kernel/ipc/bus.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import { type Job, jobMachine } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import { modelMachine } from "./machine.ts";
import { load, unload } from "./replicas.ts";
import { type RequestInput, requestMachine } from "./request.ts";
import type { Requests } from "./requests.ts";
import { type ResidentInput, residentMachine } from "./resident.ts";
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

/** A device that goes down takes its models with it, and one that comes is to have them. */
export function watchDevices(bus: Bus, residents: Residents): void {
  bus.subscribe(`${subjects.event("kernel", "down")}.device.>`, () => residents.devicesChanged());
  bus.subscribe(subjects.event("kernel", "life.ready"), ({ data }) => {
    if ((decode(data) as { service?: string }).service === "device") residents.devicesChanged();
  });
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
      reply: (_, { mid, output }) => {
        requests.settled(mid);
        ctx.server.reply(mid, output);
      },
      refuse: (_, { mid, error }) => {
        requests.settled(mid, error);
        ctx.server.fail(mid, error);
      },
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
