// Owns the memory service as a machine: asks the devices what they hold, then accounts for it. No I/O.
import { assign, enqueueActions, fromPromise, setup } from "xstate";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { type Budgets, down, freeBytes, type Report, release, report, reserve, running } from "./budget.ts";
import { changed, type Flow, type Flows, openFlow, until, watched } from "./flow.ts";

export interface MemoryContext {
  budgets: Budgets;
  flows: Flows;
  /** Of the survey: how long it has been going on. */
  survey: Flow;
  /** ms. */
  now: () => number;
}

export type MemoryEvent =
  | { type: "report"; report: Report }
  | { type: "down"; device: string }
  | { type: "running"; devices: string[] }
  | { type: "reserve"; mid: string; input: Input<"memory.reserve"> }
  | { type: "release"; mid: string; input: Input<"memory.release"> };

function starting({ survey, now }: MemoryContext): SomaError {
  const retryAfterMs = until(survey, 0, now());
  const why = "memory is still asking the devices what they hold";
  return new SomaError("EAGAIN", `${why}: try again in ${retryAfterMs} ms`, { retryAfterMs });
}

/** With these budgets instead. */
function having({ budgets, flows, now }: MemoryContext, next: Budgets) {
  return { budgets: next, flows: changed(flows, budgets, next, now()) };
}

export const memoryMachine = setup({
  types: {
    context: {} as MemoryContext,
    events: {} as MemoryEvent,
    input: {} as Pick<MemoryContext, "now">,
  },
  actors: {
    /** Sends a `report` for each device that answers; done when each has, or has had its chance. */
    survey: fromPromise<void>(() => Promise.reject(new Error("survey is not provided"))),
  },
  actions: {
    reply: (_, _params: { mid: string; freeBytes: number }) => {},
    refuse: (_, _params: { mid: string; error: SomaError }) => {},
    /** Asks a device of which nothing is known yet. */
    ask: (_, _params: { device: string }) => {},
  },
}).createMachine({
  id: "memory",
  context: ({ input: { now } }) => ({
    budgets: {},
    flows: {},
    survey: openFlow(now()),
    now,
  }),
  initial: "surveying",
  on: {
    report: { actions: assign(({ context, event }) => having(context, report(context.budgets, event.report))) },
    down: { actions: assign(({ context, event }) => having(context, down(context.budgets, event.device))) },
    running: { actions: assign(({ context, event }) => having(context, running(context.budgets, event.devices))) },
    reserve: {
      actions: { type: "refuse", params: ({ context, event: { mid } }) => ({ mid, error: starting(context) }) },
    },
    release: {
      actions: { type: "refuse", params: ({ context, event: { mid } }) => ({ mid, error: starting(context) }) },
    },
  },
  states: {
    surveying: { invoke: { src: "survey", onDone: "serving" } },
    serving: {
      on: {
        reserve: {
          actions: enqueueActions(({ context, event: { mid, input }, enqueue }) => {
            const now = context.now();
            const flows = watched(context.flows, input.device, now);
            if (!Object.hasOwn(context.budgets, input.device)) {
              enqueue({ type: "ask", params: { device: input.device } });
              enqueue.assign({ flows });
            }
            try {
              const wait = (short: number) => until(flows[input.device]!, short, now);
              const budgets = reserve(context.budgets, input, wait);
              enqueue.assign(having(context, budgets));
              enqueue({ type: "reply", params: { mid, freeBytes: freeBytes(budgets[input.device]) } });
            } catch (error) {
              if (!isSomaError(error)) throw error;
              enqueue({ type: "refuse", params: { mid, error } });
            }
          }),
        },
        release: {
          actions: enqueueActions(({ context, event: { mid, input }, enqueue }) => {
            const budgets = release(context.budgets, input);
            enqueue.assign(having(context, budgets));
            enqueue({ type: "reply", params: { mid, freeBytes: freeBytes(budgets[input.device]) } });
          }),
        },
      },
    },
  },
});
