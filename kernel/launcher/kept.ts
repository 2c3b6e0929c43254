// Owns the life of a process that must always run, the kernel or the broker: restarted at once, then later, then given up.
import { assign, setup } from "xstate";
import { LIMITS } from "../abi/limits.ts";

/** Deaths within the last `period`, with this one. Times in ms of one clock. */
export function recentDeaths(deaths: readonly number[], at: number): number[] {
  return [...deaths.filter((death) => at - death < LIMITS.period), at];
}

/** Wait before the restart after the nth recent death: none, then doubling. */
export function restartDelay(recent: number): number {
  return recent <= 1 ? 0 : Math.min(LIMITS.backoffMax, LIMITS.backoffFirst * 2 ** (recent - 2));
}

export type KeptEvent =
  | { type: "UP" }
  /** It ended, or its start failed; `at` in ms. */
  | { type: "DIED"; at: number }
  /** It is to end: no restart from here on. */
  | { type: "STOP" };

/**
 * Effects by name: `start` begins a start and answers UP or DIED; `down` tells that it does not run; `giveUp` that it
 * will not any more, after more than LIMITS.intensity deaths within LIMITS.period.
 */
export const keptMachine = setup({
  types: { context: {} as { deaths: number[] }, events: {} as KeptEvent },
  actions: {
    start: () => undefined,
    down: () => undefined,
    giveUp: () => undefined,
    count: assign(({ context, event }) =>
      event.type === "DIED" ? { deaths: recentDeaths(context.deaths, event.at) } : {},
    ),
  },
  guards: { tooMany: ({ context }) => context.deaths.length > LIMITS.intensity },
  delays: { backoff: ({ context }) => restartDelay(context.deaths.length) },
}).createMachine({
  id: "kept",
  context: { deaths: [] },
  initial: "starting",
  states: {
    starting: { entry: "start", on: { UP: "up", DIED: { target: "died", actions: "count" } } },
    up: { on: { DIED: { target: "died", actions: "count" } } },
    died: {
      entry: ["down"],
      always: [{ guard: "tooMany", target: "givenUp" }],
      after: { backoff: "starting" },
    },
    givenUp: { type: "final", entry: "giveUp" },
    stopped: { type: "final" },
  },
  on: { STOP: ".stopped" },
});
