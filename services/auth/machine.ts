// Owns the life of auth as a machine: keys of revoked grants are dropped by the broker, at once or as soon as the kernel answers. No I/O.
import { assign, fromPromise, setup } from "xstate";

export interface Waiting {
  /** Of the revocation. */
  id: string;
  publicKeys: string[];
  until: number | null;
  /** Request that is answered when the broker has dropped the keys, or could not be reached at once. */
  mid?: string;
  output?: unknown;
}

export interface AuthContext {
  waiting: Waiting[];
  /** How many of them, from the first, are being dropped. */
  flight: number;
}

export type AuthEvent = { type: "revoke"; revocations: Waiting[] };

/** Services refuse the holders already: the broker's part is the second line and may be late. */
const RETRY_MS = 1_000;

type Answer = { mid: string; output: unknown };

/** The requests that wait for the first `flight`. */
function answers({ waiting, flight }: AuthContext): Answer[] {
  return waiting.slice(0, flight).flatMap(({ mid, output }) => (mid === undefined ? [] : [{ mid, output }]));
}

const unanswered = ({ mid: _, output: __, ...rest }: Waiting): Waiting => rest;

export const authMachine = setup({
  types: { context: {} as AuthContext, events: {} as AuthEvent, input: {} as { waiting: Waiting[] } },
  actors: {
    /** Has the kernel revoke the keys of each, then forgets it. */
    drop: fromPromise<void, Waiting[]>(() => Promise.reject(new Error("drop is not provided"))),
  },
  actions: {
    reply: (_, _answers: Answer[]) => {},
    warn: (_, _params: { error: unknown }) => {},
    enlist: assign({
      waiting: ({ context, event }) => [...context.waiting, ...event.revocations],
    }),
  },
  guards: { some: ({ context }) => context.waiting.length > 0 },
  delays: { retry: RETRY_MS },
}).createMachine({
  id: "auth",
  context: ({ input }) => ({ waiting: input.waiting, flight: 0 }),
  initial: "serving",
  on: { revoke: { actions: "enlist" } },
  states: {
    serving: {
      always: { guard: "some", target: "dropping" },
    },
    dropping: {
      entry: assign({ flight: ({ context }) => context.waiting.length }),
      invoke: {
        src: "drop",
        input: ({ context: { waiting, flight } }) => waiting.slice(0, flight),
        onDone: {
          target: "serving",
          actions: [
            { type: "reply", params: ({ context }) => answers(context) },
            assign({ waiting: ({ context }) => context.waiting.slice(context.flight), flight: 0 }),
          ],
        },
        onError: {
          target: "retrying",
          actions: [
            { type: "warn", params: ({ event }) => ({ error: event.error }) },
            { type: "reply", params: ({ context }) => answers(context) },
            // Answered once.
            assign({
              waiting: ({ context }) => context.waiting.map((one, i) => (i < context.flight ? unanswered(one) : one)),
            }),
          ],
        },
      },
    },
    retrying: { after: { retry: "dropping" } },
  },
});
