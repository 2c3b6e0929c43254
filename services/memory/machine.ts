// Owns the memory service as a machine: asks the devices what they hold, then accounts for it. No I/O.
import { assign, enqueueActions, fromPromise, setup } from "xstate";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { type Budgets, down, freeBytes, type Report, release, report, reserve, running } from "./budget.ts";

export interface MemoryContext {
  budgets: Budgets;
}

export type MemoryEvent =
  | { type: "report"; report: Report }
  | { type: "down"; device: string }
  | { type: "running"; devices: string[] }
  | { type: "reserve"; mid: string; input: Input<"memory.reserve"> }
  | { type: "release"; mid: string; input: Input<"memory.release"> };

const starting = new SomaError("EAGAIN", "memory is still asking the devices what they hold: try again shortly", {
  retryAfterMs: 100,
});

export const memoryMachine = setup({
  types: { context: {} as MemoryContext, events: {} as MemoryEvent },
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
  context: { budgets: {} },
  initial: "surveying",
  on: {
    report: { actions: assign({ budgets: ({ context, event }) => report(context.budgets, event.report) }) },
    down: { actions: assign({ budgets: ({ context, event }) => down(context.budgets, event.device) }) },
    running: { actions: assign({ budgets: ({ context, event }) => running(context.budgets, event.devices) }) },
    reserve: { actions: { type: "refuse", params: ({ event }) => ({ mid: event.mid, error: starting }) } },
    release: { actions: { type: "refuse", params: ({ event }) => ({ mid: event.mid, error: starting }) } },
  },
  states: {
    surveying: { invoke: { src: "survey", onDone: "serving" } },
    serving: {
      on: {
        reserve: {
          actions: enqueueActions(({ context, event: { mid, input }, enqueue }) => {
            if (!Object.hasOwn(context.budgets, input.device))
              enqueue({ type: "ask", params: { device: input.device } });
            try {
              const budgets = reserve(context.budgets, input);
              enqueue.assign({ budgets });
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
            enqueue.assign({ budgets });
            enqueue({ type: "reply", params: { mid, freeBytes: freeBytes(budgets[input.device]) } });
          }),
        },
      },
    },
  },
});
