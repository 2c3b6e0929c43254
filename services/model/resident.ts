// Owns the life of one model version in devices' memory: loaded when it is needed, again after a device went down, given back when nobody wants it.
import { assign, type PromiseActorLogic, setup } from "xstate";
import type { Output } from "../../kernel/abi/syscalls.ts";

export type Loaded = Output<"device.load">;

export interface ResidentInput {
  /** What devices and the scheduler call it: `name@version`, with the dtype when it is not f32. */
  id: string;
}

interface Context extends ResidentInput {
  loaded: Loaded | undefined;
  error: unknown;
  /** Who uses it now: requests, evaluations. */
  users: string[];
}

export const residentMachine = setup({
  types: {
    context: {} as Context,
    input: {} as ResidentInput,
    events: {} as
      /** `who` will use it; told again without harm. */
        | { type: "need"; who: string }
        | { type: "release"; who: string }
        /** A device went down, and perhaps it was there; or one came, and is to have it too. */
        | { type: "changed" }
        /** Nobody wants it any more: unload it as soon as nobody uses it. */
        | { type: "retire" },
  },
  actors: {
    load: {} as PromiseActorLogic<Loaded, ResidentInput>,
    unload: {} as PromiseActorLogic<void, ResidentInput>,
  },
  guards: {
    used: ({ context }) => context.users.length > 0,
    unused: ({ context }) => context.users.length === 0,
    /** No alias names it. */
    unwanted: (_: { context: Context }): boolean => {
      throw new Error("guard unwanted is not provided");
    },
  },
  delays: { idle: 600_000 },
  actions: {
    take: assign({
      users: ({ context: { users }, event }) =>
        event.type !== "need" || users.includes(event.who) ? users : [...users, event.who],
    }),
    give: assign({
      users: ({ context: { users }, event }) =>
        event.type === "release" ? users.filter((who) => who !== event.who) : users,
    }),
  },
}).createMachine({
  id: "resident",
  context: ({ input }) => ({ ...input, loaded: undefined, error: undefined, users: [] }),
  initial: "absent",
  on: { release: { actions: "give" } },
  states: {
    // Somebody may have come while it was unloaded.
    absent: { always: { guard: "used", target: "loading" }, on: { need: { actions: "take" } } },
    loading: {
      on: { need: { actions: "take" }, changed: { target: "loading", reenter: true } },
      invoke: {
        src: "load",
        input: ({ context: { id } }) => ({ id }),
        onDone: { target: "resident", actions: assign({ loaded: ({ event }) => event.output, error: undefined }) },
        onError: { target: "failed", actions: assign({ error: ({ event }) => event.error, loaded: undefined }) },
      },
    },
    resident: {
      initial: "idle",
      on: {
        need: { target: ".used", actions: "take" },
        // Loading what is there already is answered at once; what was lost is loaded again.
        changed: "loading",
      },
      states: {
        idle: {
          // After a load that several waited for.
          always: { guard: "used", target: "used" },
          on: { retire: "#resident.unloading" },
          after: { idle: { guard: "unwanted", target: "#resident.unloading" } },
        },
        used: {
          on: { retire: "retiring" },
          always: { guard: "unused", target: "idle" },
        },
        retiring: {
          on: { need: { actions: "take" } },
          always: { guard: "unused", target: "#resident.unloading" },
        },
      },
    },
    // Told to those who waited; whoever needs it next makes another attempt.
    failed: { on: { need: { target: "loading", actions: "take" } } },
    unloading: {
      invoke: { src: "unload", input: ({ context: { id } }) => ({ id }), onDone: "absent" },
      on: { need: { actions: "take" } },
      exit: assign({ loaded: undefined }),
    },
  },
});
