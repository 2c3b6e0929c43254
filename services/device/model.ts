// Owns the life of one resident model as a machine: loading, idle, running with the next quantum handed over, unloading. No I/O.

import { assign, enqueueActions, fromPromise, setup } from "xstate";
import type { z } from "zod";
import { type Code, isSomaError } from "../../kernel/abi/errors.ts";
import type { device, loadedRow } from "../../kernel/abi/syscalls/device.ts";

export type LoadInput = z.output<typeof device.load.input>;
export type RunInput = z.output<typeof device.run.input>;
export type RunOutput = z.output<typeof device.run.output>;
export type Row = z.output<typeof loadedRow>;

interface Quantum {
  mid: string;
  input: RunInput;
}

export interface ModelContext {
  model: string;
  load: LoadInput;
  /** Who waits for it to be loaded, or to be gone. */
  waiting: string[];
  current: Quantum | undefined;
  next: Quantum | undefined;
  leaving: string[];
}

export type ModelEvent =
  | { type: "load"; mid: string; input: LoadInput }
  | { type: "unload"; mid: string; model: string }
  | { type: "run"; mid: string; model: string; input: RunInput };

export interface Refusal {
  mid: string;
  code: Code;
  message: string;
}

function unprovided<Output, Input>(name: string) {
  return fromPromise<Output, Input>(() => Promise.reject(new Error(`actor "${name}" is not provided`)));
}

export const modelMachine = setup({
  types: {
    context: {} as ModelContext,
    events: {} as ModelEvent,
    input: {} as { mid: string; input: LoadInput },
  },
  actors: {
    load: unprovided<Row, LoadInput>("load"),
    run: unprovided<RunOutput, RunInput>("run"),
    unload: unprovided<{ freedBytes: number }, { model: string }>("unload"),
  },
  actions: {
    reply: (_, _params: { mids: string[]; output: unknown }) => {},
    refuse: (_, _params: Refusal) => {},
    /** A coded error goes to the callers; any other one is our bug. */
    fail: (_, _params: { mids: string[]; error: unknown }) => {},
    replyRow: (_, _params: { mid: string; model: string }) => {},
    /** Ends the running quantum at its next step. */
    interrupt: (_, _params: { model: string }) => {},
    announce: () => {},
  },
  guards: {
    leaving: ({ context }) => context.leaving.length > 0,
    more: ({ context }) => context.next !== undefined,
    full: ({ context }) => context.next !== undefined,
  },
}).createMachine({
  id: "model",
  context: ({ input: { mid, input } }) => ({
    model: input.model,
    load: input,
    waiting: [mid],
    current: undefined,
    next: undefined,
    leaving: [],
  }),
  initial: "loading",
  states: {
    loading: {
      invoke: {
        src: "load",
        input: ({ context }) => context.load,
        onDone: {
          target: "idle",
          actions: [
            { type: "reply", params: ({ context, event }) => ({ mids: context.waiting, output: event.output }) },
            "announce",
            assign({ waiting: [] }),
          ],
        },
        onError: {
          target: "gone",
          actions: { type: "fail", params: ({ context, event }) => ({ mids: context.waiting, error: event.error }) },
        },
      },
      on: {
        load: { actions: assign({ waiting: ({ context, event }) => [...context.waiting, event.mid] }) },
        "*": {
          actions: {
            type: "refuse",
            params: ({ context, event }) => ({
              mid: event.mid,
              code: "EAGAIN",
              message: `${context.model} is being loaded: try again shortly`,
            }),
          },
        },
      },
    },
    idle: {
      on: {
        load: {
          actions: { type: "replyRow", params: ({ context, event }) => ({ mid: event.mid, model: context.model }) },
        },
        run: { target: "running", actions: assign({ current: ({ event: { mid, input } }) => ({ mid, input }) }) },
        unload: { target: "unloading", actions: assign({ leaving: ({ event }) => [event.mid] }) },
      },
    },
    running: {
      invoke: {
        src: "run",
        input: ({ context }) => context.current!.input,
        onDone: [
          {
            guard: "leaving",
            target: "unloading",
            actions: {
              type: "reply",
              params: ({ context, event }) => ({ mids: [context.current!.mid], output: event.output }),
            },
          },
          {
            guard: "more",
            target: "running",
            reenter: true,
            actions: [
              {
                type: "reply",
                params: ({ context, event }) => ({ mids: [context.current!.mid], output: event.output }),
              },
              assign({ current: ({ context }) => context.next, next: undefined }),
            ],
          },
          {
            target: "idle",
            actions: [
              {
                type: "reply",
                params: ({ context, event }) => ({ mids: [context.current!.mid], output: event.output }),
              },
              assign({ current: undefined }),
            ],
          },
        ],
        onError: [
          {
            // The quantum was wrong, not the model.
            guard: ({ event }) => isSomaError(event.error, "EINVAL"),
            target: "settling",
            actions: {
              type: "fail",
              params: ({ context, event }) => ({ mids: [context.current!.mid], error: event.error }),
            },
          },
          {
            // The memory of a model whose thread failed cannot be trusted: the process starts anew.
            actions: ({ event }) => {
              throw event.error;
            },
          },
        ],
      },
      on: {
        load: {
          actions: { type: "replyRow", params: ({ context, event }) => ({ mid: event.mid, model: context.model }) },
        },
        run: [
          {
            guard: "full",
            actions: {
              type: "refuse",
              params: ({ context, event }) => ({
                mid: event.mid,
                code: "EBUSY",
                message: `${context.model} runs a quantum and has the next: wait for a report`,
              }),
            },
          },
          { actions: assign({ next: ({ event: { mid, input } }) => ({ mid, input }) }) },
        ],
        unload: {
          actions: [
            assign({ leaving: ({ context, event }) => [...context.leaving, event.mid] }),
            { type: "interrupt", params: ({ context }) => ({ model: context.model }) },
          ],
        },
      },
    },
    /** After a quantum that was refused. */
    settling: {
      always: [
        { guard: "leaving", target: "unloading" },
        {
          guard: "more",
          target: "running",
          actions: assign({ current: ({ context }) => context.next, next: undefined }),
        },
        { target: "idle", actions: assign({ current: undefined }) },
      ],
    },
    unloading: {
      entry: enqueueActions(({ context, enqueue }) => {
        if (context.next === undefined) return;
        const { mid } = context.next;
        enqueue({ type: "refuse", params: { mid, code: "ENOENT", message: `${context.model} is being unloaded` } });
        enqueue.assign({ next: undefined });
      }),
      invoke: {
        src: "unload",
        input: ({ context }) => ({ model: context.model }),
        onDone: {
          target: "gone",
          actions: [
            { type: "reply", params: ({ context, event }) => ({ mids: context.leaving, output: event.output }) },
            "announce",
          ],
        },
      },
      on: {
        unload: { actions: assign({ leaving: ({ context, event }) => [...context.leaving, event.mid] }) },
        "*": {
          actions: {
            type: "refuse",
            params: ({ context, event }) => ({
              mid: event.mid,
              code: "EAGAIN",
              message: `${context.model} is being unloaded: try again shortly`,
            }),
          },
        },
      },
    },
    gone: { type: "final" },
  },
});
