// Owns the life of one training job as a machine: training, stopping, done. No I/O.

import { assign, fromPromise, setup } from "xstate";
import type { z } from "zod";
import type { device, trainProgress } from "../../kernel/abi/syscalls/device.ts";

export type TrainInput = z.output<typeof device.train.input>;
export type TrainOutput = z.output<typeof device.train.output>;
type Progress = z.output<typeof trainProgress>;

export interface JobContext {
  mid: string;
  input: TrainInput;
  step: number;
  steps: number;
  loss: number | undefined;
}

export type JobEvent = { type: "progress"; progress: Progress } | { type: "cancel" };

export const jobMachine = setup({
  types: {
    context: {} as JobContext,
    events: {} as JobEvent,
    input: {} as { mid: string; input: TrainInput },
  },
  actors: {
    train: fromPromise<TrainOutput, { mid: string; input: TrainInput }>(() =>
      Promise.reject(new Error('actor "train" is not provided')),
    ),
  },
  actions: {
    reply: (_, _params: { mids: string[]; output: unknown }) => {},
    fail: (_, _params: { mids: string[]; error: unknown }) => {},
    /** Ends the run after its current step. */
    stop: (_, _params: { mid: string }) => {},
  },
}).createMachine({
  id: "job",
  context: ({ input: { mid, input } }) => ({ mid, input, step: 0, steps: 0, loss: undefined }),
  invoke: {
    src: "train",
    input: ({ context: { mid, input } }) => ({ mid, input }),
    onDone: {
      target: ".done",
      actions: { type: "reply", params: ({ context, event }) => ({ mids: [context.mid], output: event.output }) },
    },
    onError: {
      target: ".done",
      actions: { type: "fail", params: ({ context, event }) => ({ mids: [context.mid], error: event.error }) },
    },
  },
  on: {
    progress: {
      actions: assign(({ event: { progress } }) => ({
        step: progress.step,
        steps: progress.steps,
        loss: progress.loss,
      })),
    },
  },
  initial: "training",
  states: {
    training: {
      on: {
        cancel: { target: "stopping", actions: { type: "stop", params: ({ context }) => ({ mid: context.mid }) } },
      },
    },
    stopping: { on: { cancel: {} } },
    done: { type: "final" },
  },
});
