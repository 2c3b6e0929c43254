// Owns the device as a machine: which models are resident and which jobs train, each an actor of its own. No I/O.
import { assign, enqueueActions, setup } from "xstate";
import { type JobEvent, jobMachine, type TrainInput } from "./job.ts";
import { type ModelEvent, modelMachine, type Refusal } from "./model.ts";

export interface DeviceContext {
  models: string[];
  /** Request id of each job's caller. */
  jobs: string[];
}

export type DeviceEvent =
  | ModelEvent
  | { type: "train"; mid: string; input: TrainInput }
  | { type: "progress"; mid: string; progress: Extract<JobEvent, { type: "progress" }>["progress"] }
  | { type: "cancel"; mid: string };

export const modelId = (model: string) => `model.${model}`;
export const jobId = (mid: string) => `job.${mid}`;

const notHere = ({ mid, model }: { mid: string; model: string }): Refusal => ({
  mid,
  code: "ENOENT",
  message: `${model} is not resident here: call device.load first`,
});

export const deviceMachine = setup({
  types: { context: {} as DeviceContext, events: {} as DeviceEvent },
  actors: { model: modelMachine, job: jobMachine },
  actions: { refuse: (_, _params: Refusal) => {} },
  guards: {
    here: ({ context }: { context: DeviceContext }, model: string) => context.models.includes(model),
    training: ({ context }: { context: DeviceContext }, mid: string) => context.jobs.includes(mid),
  },
}).createMachine({
  id: "device",
  context: { models: [], jobs: [] },
  initial: "ready",
  states: {
    ready: {
      on: {
        load: [
          {
            guard: { type: "here", params: ({ event }) => event.input.model },
            actions: enqueueActions(({ event, enqueue }) => enqueue.sendTo(modelId(event.input.model), event)),
          },
          {
            actions: assign({
              models: ({ context, event, spawn }) => {
                const { mid, input } = event;
                spawn("model", { id: modelId(input.model), input: { mid, input } });
                return [...context.models, input.model];
              },
            }),
          },
        ],
        run: [
          {
            guard: { type: "here", params: ({ event }) => event.model },
            actions: enqueueActions(({ event, enqueue }) => enqueue.sendTo(modelId(event.model), event)),
          },
          { actions: { type: "refuse", params: ({ event }) => notHere(event) } },
        ],
        unload: [
          {
            guard: { type: "here", params: ({ event }) => event.model },
            actions: enqueueActions(({ event, enqueue }) => enqueue.sendTo(modelId(event.model), event)),
          },
          { actions: { type: "refuse", params: ({ event }) => notHere(event) } },
        ],
        train: {
          actions: assign({
            jobs: ({ context, event: { mid, input }, spawn }) => {
              spawn("job", { id: jobId(mid), input: { mid, input } });
              return [...context.jobs, mid];
            },
          }),
        },
        progress: {
          guard: { type: "training", params: ({ event }) => event.mid },
          actions: enqueueActions(({ event: { mid, progress }, enqueue }) =>
            enqueue.sendTo(jobId(mid), { type: "progress", progress }),
          ),
        },
        cancel: {
          guard: { type: "training", params: ({ event }) => event.mid },
          actions: enqueueActions(({ event: { mid }, enqueue }) => enqueue.sendTo(jobId(mid), { type: "cancel" })),
        },
        "xstate.done.actor.*": {
          actions: enqueueActions(({ context, event, enqueue }) => {
            // Not an event of ours: XState sends it when an actor has reached its end.
            const id = (event as unknown as { actorId: string }).actorId;
            enqueue.stopChild(id);
            enqueue.assign({
              models: context.models.filter((model: string) => modelId(model) !== id),
              jobs: context.jobs.filter((mid: string) => jobId(mid) !== id),
            });
          }),
        },
      },
    },
  },
});
