// Owns the life of one request: planned, its model made resident, run, answered once. The per-token path is in answer.ts.
import { assign, type PromiseActorLogic, setup } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";

export interface RequestInput {
  /** `<caller>/<id>`: plans and answers are found by it. */
  mid: string;
  call: string;
}

/** Which resident a request needs: its id, chosen when it was planned. */
export interface Need {
  id: string;
}

interface Context extends RequestInput {
  need: Need | undefined;
  /** Times that the run was lost and begun again. */
  lost: number;
  output: unknown;
  error: unknown;
}

/** So often a run is begun again; with the pauses between, whoever went down has some ten seconds to come back. */
const RESUMES = 6;

export const requestMachine = setup({
  types: {
    context: {} as Context,
    input: {} as RequestInput,
    events: {} as { type: "cancel" },
  },
  actors: {
    /** Template and tokens: what to run. EINVAL, ENOENT. */
    plan: {} as PromiseActorLogic<Need, RequestInput>,
    /** Resolves when the model is resident. */
    need: {} as PromiseActorLogic<void, { mid: string }>,
    /** Runs to the end; called again after a loss, it goes on where it was. */
    run: {} as PromiseActorLogic<unknown, { mid: string }>,
  },
  actions: {
    reply: (_, _params: { mid: string; output: unknown }) => {},
    refuse: (_, _params: { mid: string; error: unknown }) => {},
    /** Forgets plan and answer, releases the model. */
    forget: (_, _params: { mid: string }) => {},
  },
  delays: { pause: ({ context }) => 100 * 2 ** context.lost },
  guards: {
    /** The sequence is gone, not wrong: ids that came are kept, and it goes on from there. */
    lost: ({ context }, { error }: { error: unknown }) =>
      error instanceof SomaError &&
      ["ESERVICEDOWN", "EIO"].includes(error.code) &&
      error.retryable &&
      context.lost < RESUMES,
  },
}).createMachine({
  id: "request",
  context: ({ input }) => ({ ...input, need: undefined, lost: 0, output: undefined, error: undefined }),
  initial: "planning",
  on: { cancel: ".canceled" },
  states: {
    planning: {
      invoke: {
        src: "plan",
        input: ({ context: { mid, call } }) => ({ mid, call }),
        onDone: { target: "loading", actions: assign({ need: ({ event }) => event.output }) },
        onError: { target: "refused", actions: assign({ error: ({ event }) => event.error }) },
      },
    },
    loading: {
      invoke: {
        src: "need",
        input: ({ context: { mid } }) => ({ mid }),
        onDone: "running",
        onError: { target: "refused", actions: assign({ error: ({ event }) => event.error }) },
      },
    },
    running: {
      invoke: {
        src: "run",
        input: ({ context: { mid } }) => ({ mid }),
        onDone: { target: "answered", actions: assign({ output: ({ event }) => event.output }) },
        onError: [
          {
            guard: { type: "lost", params: ({ event }) => ({ error: event.error }) },
            target: "waiting",
            actions: assign({ lost: ({ context }) => context.lost + 1 }),
          },
          { target: "refused", actions: assign({ error: ({ event }) => event.error }) },
        ],
      },
    },
    // Whoever went down mostly comes back in a fraction of a second; the model is then asked for again.
    waiting: { after: { pause: "loading" } },
    answered: {
      type: "final",
      entry: [
        { type: "reply", params: ({ context: { mid, output } }) => ({ mid, output }) },
        { type: "forget", params: ({ context: { mid } }) => ({ mid }) },
      ],
    },
    refused: {
      type: "final",
      entry: [
        { type: "refuse", params: ({ context: { mid, error } }) => ({ mid, error }) },
        { type: "forget", params: ({ context: { mid } }) => ({ mid }) },
      ],
    },
    // The server answers ECANCELED or ETIME itself; what runs is stopped by leaving its state.
    canceled: { type: "final", entry: { type: "forget", params: ({ context: { mid } }) => ({ mid }) } },
  },
});
