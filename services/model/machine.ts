// Owns the model service as a machine: one actor for each running request and each job; jobs train one at a time. No I/O.
import { assign, enqueueActions, setup } from "xstate";
import { type Job, jobMachine } from "./job.ts";
import { requestMachine } from "./request.ts";

interface Context {
  /** Jobs that wait for their turn, first come first. */
  queue: string[];
  /** The job whose turn it is. */
  working: string | undefined;
}

export type ModelEvent = { type: "request"; mid: string; call: string } | { type: "job"; job: Job };

export const requestId = (mid: string) => `request.${mid}`;
export const jobId = (id: string) => `job.${id}`;

/** Actors end with an event of this type; their id is the rest. */
const DONE = "xstate.done.actor.";

export const modelMachine = setup({
  types: { context: {} as Context, events: {} as ModelEvent },
  actors: { request: requestMachine, job: jobMachine },
  actions: {
    /** No state takes this event: whoever sent a request must still hear something. */
    refuse: (_, _params: { mid: string | undefined; event: string }) => {},
    /** The next job's turn, if nobody has it. */
    admit: enqueueActions(({ context: { queue, working }, enqueue }) => {
      const [next, ...rest] = queue;
      if (working !== undefined || next === undefined) return;
      enqueue.assign({ queue: rest, working: next });
      enqueue.sendTo(jobId(next), { type: "start" });
    }),
  },
}).createMachine({
  id: "model",
  context: { queue: [], working: undefined },
  on: {
    "*": {
      actions: {
        type: "refuse",
        params: ({ event }) => ({ mid: (event as { mid?: string }).mid, event: event.type }),
      },
    },
  },
  initial: "serving",
  states: {
    serving: {
      on: {
        request: {
          actions: assign(({ event: { mid, call }, spawn }) => {
            spawn("request", { id: requestId(mid), input: { mid, call } });
            return {};
          }),
        },
        job: {
          actions: [
            assign(({ context, event: { job }, spawn }) => {
              spawn("job", { id: jobId(job.id), input: job });
              return { queue: [...context.queue, job.id] };
            }),
            "admit",
          ],
        },
        "xstate.done.actor.*": {
          actions: enqueueActions(({ context, event, enqueue }) => {
            const id = (event as { type: string }).type.slice(DONE.length);
            // XState keeps children that are done; these would pile up.
            enqueue.stopChild(id);
            if (!id.startsWith("job.")) return;
            const job = id.slice("job.".length);
            enqueue.assign({
              queue: context.queue.filter((waiting: string) => waiting !== job),
              working: context.working === job ? undefined : context.working,
            });
            enqueue("admit");
          }),
        },
      },
    },
  },
});
