// Owns the life of a kernel where several share one broker: one holds the lease, the others stand by. Pure: writes and time are given.
import { assign, setup } from "xstate";

/**
 * ms. A holder counts its time from the start of its last write, a stand-by from when it first saw it, which is later; so with
 * `doubt` < `take` the former has ended before the latter begins. The store's revisions decide where clocks are wrong.
 */
export const TENURE = {
  /** Between looks, and between renewals. */
  renew: 400,
  /** Without a renewal for so long a holder may not write outside of the broker. */
  doubt: 1_500,
  /** A lease that did not change for so long is free. */
  take: 2_000,
} as const;

export interface TenureContext {
  /** Last known revision of the lease; 0: there is none. */
  revision: number;
  /** When the lease was first seen as it is (standing by), or the last write that succeeded was begun (holding). */
  since: number;
}

/** `at`: ms of one monotonic clock. */
export type TenureEvent =
  /** What a look at the lease found; `ours`: written by us, or by a former kernel of our launcher, which is dead. */
  | { type: "SEEN"; revision: number; ours: boolean; at: number }
  /** `at` is when the write was begun. */
  | { type: "WRITTEN"; revision: number; at: number }
  /** The lease is no longer what we knew. */
  | { type: "REFUSED"; at: number }
  /** The broker or the store is away: whoever sees nothing may conclude nothing. */
  | { type: "FAILED"; at: number }
  | { type: "TICK"; at: number };

const unprovided = (name: string) => () => {
  throw new Error(`the effect "${name}" is not provided`);
};

export const tenureMachine = setup({
  types: { context: {} as TenureContext, events: {} as TenureEvent, input: {} as { at: number } },
  actions: {
    /** Answered by SEEN or FAILED. One of look and write at a time: what is asked meanwhile is left out. */
    look: unprovided("look"),
    /** Writes the lease unless it is no longer that of `revision`; answered by WRITTEN, REFUSED or FAILED. */
    write: unprovided("write") as (_: unknown, revision: number) => void,
    /** We are the kernel. */
    won: unprovided("won"),
    /** Another one is: we must end. */
    lost: unprovided("lost"),
    note: assign(({ event }) =>
      event.type === "SEEN" || event.type === "WRITTEN" ? { revision: event.revision, since: event.at } : {},
    ),
    learn: assign(({ event }) => (event.type === "SEEN" ? { revision: event.revision } : {})),
    countAfresh: assign(({ event }) => ({ since: event.at })),
  },
  guards: {
    isFree: ({ context, event }) =>
      event.type === "SEEN" &&
      (event.ours ||
        event.revision === 0 ||
        (event.revision === context.revision && event.at - context.since >= TENURE.take)),
    isNew: ({ context, event }) => event.type === "SEEN" && event.revision !== context.revision,
    isOurs: ({ event }) => event.type === "SEEN" && event.ours,
    isDoubtful: ({ context, event }) => event.at - context.since >= TENURE.doubt,
  },
}).createMachine({
  id: "tenure",
  context: ({ input }) => ({ revision: -1, since: input.at }),
  initial: "standby",
  states: {
    standby: {
      on: {
        TICK: { actions: "look" },
        SEEN: [
          { guard: "isFree", target: "taking", actions: "learn" },
          { guard: "isNew", actions: "note" },
        ],
        FAILED: { actions: "countAfresh" },
      },
    },
    taking: {
      entry: { type: "write", params: ({ context }) => context.revision },
      on: {
        WRITTEN: { target: "holding.sure", actions: ["note", "won"] },
        REFUSED: { target: "standby", actions: "countAfresh" },
        FAILED: { target: "standby", actions: "countAfresh" },
      },
    },
    holding: {
      initial: "sure",
      on: {
        // Refused, perhaps for a write of ours that was given up and came through.
        REFUSED: { actions: "look" },
        SEEN: [{ guard: "isOurs", actions: "learn" }, { target: "lost" }],
      },
      states: {
        sure: {
          on: {
            TICK: [
              { guard: "isDoubtful", target: "doubtful" },
              { actions: { type: "write", params: ({ context }) => context.revision } },
            ],
            WRITTEN: { actions: "note" },
          },
        },
        // Perhaps the broker is away, perhaps we were stopped and are succeeded: the next write tells.
        doubtful: {
          entry: { type: "write", params: ({ context }) => context.revision },
          on: {
            TICK: { actions: { type: "write", params: ({ context }) => context.revision } },
            WRITTEN: { target: "sure", actions: "note" },
          },
        },
      },
    },
    lost: { type: "final", entry: "lost" },
  },
});
