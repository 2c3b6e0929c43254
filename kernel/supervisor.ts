// Owns the order of the whole: boot one child after the other, keep going, stop in reverse. Pure: effects are given.
import { assign, setup } from "xstate";

export interface SupervisorContext {
  /** Instance names in boot order. */
  order: string[];
  /** The one that is being started or stopped. */
  at: number;
  /** What the launcher is to exit with. */
  code: number;
}

export type SupervisorEvent =
  | { type: "boot" }
  /** From a child: it is up, or set aside so that the others can go on. */
  | { type: "settled"; instance: string }
  | { type: "stopped"; instance: string }
  /** One more child, started by itself: it is to be stopped with the others. */
  | { type: "added"; instance: string }
  /** A core child cannot be kept up. */
  | { type: "failed"; instance: string }
  | { type: "shutdown" };

const unprovided = (name: string) => () => {
  throw new Error(`the effect "${name}" is not provided`);
};

/** `limit`: ms that an ordered stop may take altogether. */
export function supervisorMachine({ limit }: { limit: number }) {
  return setup({
    types: {
      context: {} as SupervisorContext,
      events: {} as SupervisorEvent,
      input: {} as { order: string[] },
    },
    actions: {
      startChild: unprovided("startChild") as (_: unknown, instance: string) => void,
      stopChild: unprovided("stopChild") as (_: unknown, instance: string) => void,
      /** All are up. */
      booted: unprovided("booted") as () => void,
      endApps: unprovided("endApps") as () => void,
      /** KILL to whatever still runs. */
      killAll: unprovided("killAll") as () => void,
      /** Has the launcher end with this code. */
      finish: unprovided("finish") as (_: unknown, code: number) => void,
      next: assign({ at: ({ context }) => context.at + 1 }),
      last: assign({ at: ({ context }) => context.order.length - 1 }),
      former: assign({ at: ({ context }) => context.at - 1 }),
      fail: assign({ code: 1 }),
    },
    guards: {
      isAwaited: ({ context, event }) => "instance" in event && event.instance === context.order[context.at],
      isLast: ({ context, event }) =>
        "instance" in event && event.instance === context.order[context.at] && context.at === context.order.length - 1,
      isFirst: ({ context, event }) =>
        "instance" in event && event.instance === context.order[context.at] && context.at === 0,
    },
    delays: { limit },
  }).createMachine({
    id: "supervisor",
    context: ({ input }) => ({ order: input.order, at: 0, code: 0 }),
    initial: "idle",
    on: {
      added: { actions: assign({ order: ({ context, event }) => [...context.order, event.instance] }) },
    },
    states: {
      idle: { on: { boot: "booting", shutdown: "stopping" } },
      booting: {
        entry: { type: "startChild", params: ({ context }) => context.order[context.at]! },
        on: {
          settled: [
            { guard: "isLast", target: "running" },
            { guard: "isAwaited", target: "booting", reenter: true, actions: "next" },
          ],
          // One that ended by itself, as its restart type allows.
          stopped: [
            { guard: "isLast", target: "running" },
            { guard: "isAwaited", target: "booting", reenter: true, actions: "next" },
          ],
          failed: { target: "stopping", actions: "fail" },
          shutdown: "stopping",
        },
      },
      running: {
        entry: "booted",
        on: {
          failed: { target: "stopping", actions: "fail" },
          shutdown: "stopping",
        },
      },
      stopping: {
        entry: ["endApps", "last", { type: "stopChild", params: ({ context }) => context.order[context.at]! }],
        after: { limit: { target: "stopped", actions: "killAll" } },
        on: {
          stopped: [
            { guard: "isFirst", target: "stopped" },
            {
              guard: "isAwaited",
              actions: ["former", { type: "stopChild", params: ({ context }) => context.order[context.at]! }],
            },
          ],
          failed: { actions: "fail" },
        },
      },
      stopped: { entry: { type: "finish", params: ({ context }) => context.code } },
    },
  });
}
