// Owns the life of one supervised child: Erlang's semantics as a machine. Pure: clock, random source and effects are given.
import { assign, setup } from "xstate";
import { LIMITS } from "./abi/limits.ts";
import type { ChildSpec } from "./manifest.ts";

export interface Exit {
  code: number | null;
  signal: string | null;
  /** The end of what it printed. */
  lines: string[];
}

export interface ChildContext {
  instance: string;
  spec: ChildSpec;
  /** Of the process that runs. */
  pid: number | undefined;
  /** Of the last identity that was given out; 0 before the first. */
  epoch: number;
  /** The process that runs has that identity: others may have talked to it. */
  registered: boolean;
  /** ms on the machine's clock. */
  startedAt: number;
  readyAt: number | undefined;
  /** When it was restarted within `period`: old ones fall out, so the count decays. */
  restarts: number[];
  /** Restarts since the kernel knows it. */
  total: number;
  /** The last start was a probe out of quarantine. */
  probing: boolean;
  /** Start again once it has stopped. */
  again: boolean;
  /** Why the kernel ended it, if it did. */
  reason: string | undefined;
  exit: Exit | undefined;
  /** ms of the current backoff. */
  delay: number;
}

export type ChildEvent =
  | { type: "start" }
  /** A former kernel started it. `age` in ms; `ready` if it said so. */
  | { type: "adopt"; pid: number; epoch: number; registered: boolean; ready: boolean; age: number }
  | { type: "spawned"; pid: number }
  | { type: "registered"; epoch: number }
  | { type: "ready" }
  /** Two beats missed, or its connection was lost; and a sign of life after that. */
  | { type: "suspect" }
  | { type: "beat" }
  /** It hangs: kill it. */
  | { type: "condemn"; reason: string }
  | ({ type: "exit" } & Exit)
  | { type: "stop" }
  | { type: "restart" };

/** What the supervisor hears: up or set aside, ended as asked, lost for good. */
export type Verdict = "settled" | "stopped" | "failed";

export interface ChildEnvironment {
  /** ms on a clock that never steps back; the actor's own clock must agree with it. */
  now: () => number;
  /** In [0, 1). */
  random: () => number;
}

/** ms before restart number `count` (from 1) within a period: at once, then doubling with jitter, capped. */
export function backoff(count: number, random: number): number {
  if (count <= 1) return 0;
  return Math.min(LIMITS.backoffMax, LIMITS.backoffFirst * 2 ** (count - 2) * (0.75 + random / 2));
}

/** An effect that whoever runs the machine must supply. */
const unprovided = (name: string) => () => {
  throw new Error(`the effect "${name}" is not provided`);
};

export type ChildMachine = ReturnType<typeof childMachine>;

export function childMachine({ now, random }: ChildEnvironment) {
  const recent = ({ restarts, spec }: ChildContext) => restarts.filter((at) => now() - at < spec.period);
  return setup({
    types: {
      context: {} as ChildContext,
      events: {} as ChildEvent,
      input: {} as { instance: string; spec: ChildSpec },
    },
    actions: {
      /** Starts the process with a fresh bootstrap. */
      launch: unprovided("launch") as () => void,
      signal: unprovided("signal") as (_: unknown, name: "SIGTERM" | "SIGKILL") => void,
      /** Tells everybody that this epoch is over. */
      down: unprovided("down") as () => void,
      /** Tells who is interested what happened, by the name of the state. */
      life: unprovided("life") as (_: unknown, what: string) => void,
      report: unprovided("report") as (_: unknown, verdict: Verdict) => void,
      begin: assign(() => ({
        pid: undefined,
        registered: false,
        startedAt: now(),
        readyAt: undefined,
        again: false,
        reason: undefined,
        exit: undefined,
      })),
      adopt: assign(({ event }) => {
        const { pid, epoch, registered, ready, age } = event as Extract<ChildEvent, { type: "adopt" }>;
        return { pid, epoch, registered, startedAt: now() - age, readyAt: ready ? now() - age : undefined };
      }),
      spawned: assign(({ event }) => ({ pid: (event as Extract<ChildEvent, { type: "spawned" }>).pid })),
      registered: assign(({ event }) => ({
        epoch: (event as Extract<ChildEvent, { type: "registered" }>).epoch,
        registered: true,
      })),
      up: assign(({ context }) => ({ readyAt: context.readyAt ?? now() })),
      note: assign(({ event }) => {
        const { code, signal, lines } = event as Extract<ChildEvent, { type: "exit" }>;
        return { exit: { code, signal, lines }, pid: undefined };
      }),
      ended: assign({ registered: false }),
      blame: assign((_, reason: string) => ({ reason })),
      count: assign(({ context }) => ({ restarts: [...recent(context), now()], total: context.total + 1 })),
      wait: assign(({ context }) => ({ delay: backoff(recent(context).length, random()) })),
      forgive: assign({ restarts: [], probing: false }),
      probe: assign({ probing: true }),
      trust: assign({ probing: false }),
      again: assign({ again: true }),
    },
    guards: {
      saidReady: ({ event }) => event.type === "adopt" && event.ready,
      /** Its restart type says that it stays down. */
      over: ({ context: { spec, exit, reason } }) =>
        spec.restart === "temporary" || (spec.restart === "transient" && exit?.code === 0 && reason === undefined),
      tooManyOfCore: ({ context }) => context.spec.core && recent(context).length >= context.spec.intensity,
      /** One that was probed must last for a period before it is trusted with restarts again. */
      tooMany: ({ context }) =>
        recent(context).length >= context.spec.intensity ||
        (context.probing && (context.readyAt === undefined || now() - context.readyAt < context.spec.period)),
      firstOfPeriod: ({ context }) => recent(context).length === 0,
      again: ({ context }) => context.again,
    },
    delays: {
      startTimeout: ({ context }) => context.spec.startTimeout,
      shutdown: ({ context }) => context.spec.shutdown,
      backoff: ({ context }) => context.delay,
      probe: ({ context }) => context.spec.probe,
    },
  }).createMachine({
    id: "child",
    context: ({ input: { instance, spec } }) => ({
      instance,
      spec,
      pid: undefined,
      epoch: 0,
      registered: false,
      startedAt: now(),
      readyAt: undefined,
      restarts: [],
      total: 0,
      probing: false,
      again: false,
      reason: undefined,
      exit: undefined,
      delay: 0,
    }),
    // An event that a state does not name is no concern of it: a late beat, an exit told twice. None is a request.
    on: {
      spawned: { actions: "spawned" },
      registered: { actions: "registered" },
    },
    initial: "idle",
    states: {
      idle: {
        on: {
          start: { target: "starting", actions: ["begin", "launch"] },
          adopt: [
            { guard: "saidReady", target: "ready", actions: "adopt" },
            { target: "starting", actions: "adopt" },
          ],
          restart: { target: "starting", actions: ["begin", "launch"] },
          stop: "stopped",
        },
      },
      starting: {
        entry: { type: "life", params: "starting" },
        after: {
          startTimeout: {
            actions: [
              { type: "blame", params: "it was not ready in time" },
              { type: "signal", params: "SIGKILL" },
            ],
          },
        },
        on: {
          ready: "ready",
          exit: "crashed",
          stop: "draining",
          restart: { target: "draining", actions: "again" },
        },
      },
      ready: {
        entry: ["up", { type: "life", params: "ready" }, { type: "report", params: "settled" }],
        on: {
          // Its turn to boot, and somebody had it restarted before: the boot goes on.
          start: { actions: { type: "report", params: "settled" } },
          suspect: "suspect",
          condemn: {
            target: "suspect",
            actions: [
              { type: "blame", params: ({ event }) => event.reason },
              { type: "signal", params: "SIGKILL" },
            ],
          },
          exit: "crashed",
          stop: "draining",
          restart: { target: "draining", actions: "again" },
        },
      },
      suspect: {
        entry: { type: "life", params: "suspect" },
        on: {
          start: { actions: { type: "report", params: "settled" } },
          beat: "ready",
          condemn: {
            actions: [
              { type: "blame", params: ({ event }) => event.reason },
              { type: "signal", params: "SIGKILL" },
            ],
          },
          exit: "crashed",
          stop: "draining",
          restart: { target: "draining", actions: "again" },
        },
      },
      draining: {
        entry: [
          { type: "life", params: "draining" },
          { type: "signal", params: "SIGTERM" },
        ],
        after: { shutdown: { actions: { type: "signal", params: "SIGKILL" } } },
        on: {
          exit: [
            { guard: "again", target: "starting", actions: ["note", "down", "forgive", "begin", "launch"] },
            { target: "stopped", actions: ["note", "down", "ended"] },
          ],
          // The system stops while a restart is under way.
          stop: { actions: assign({ again: false }) },
          restart: { actions: "again" },
        },
      },
      crashed: {
        entry: ["note", "down", "ended", { type: "life", params: "crashed" }],
        always: [
          { guard: "over", target: "stopped" },
          { guard: "tooManyOfCore", target: "failed" },
          { guard: "tooMany", target: "quarantined" },
          { guard: "firstOfPeriod", target: "starting", actions: ["trust", "count", "begin", "launch"] },
          { target: "backoff", actions: ["trust", "count", "wait"] },
        ],
      },
      backoff: {
        entry: { type: "life", params: "backoff" },
        after: { backoff: { target: "starting", actions: ["begin", "launch"] } },
        on: {
          restart: { target: "starting", actions: ["forgive", "begin", "launch"] },
          stop: "stopped",
        },
      },
      // Its calls are answered ESERVICEDOWN by the broker, since nobody listens.
      quarantined: {
        entry: [
          { type: "life", params: "quarantined" },
          { type: "report", params: "settled" },
        ],
        after: { probe: { target: "starting", actions: ["probe", "count", "begin", "launch"] } },
        on: {
          start: { actions: { type: "report", params: "settled" } },
          restart: { target: "starting", actions: ["forgive", "begin", "launch"] },
          stop: "stopped",
        },
      },
      stopped: {
        entry: [
          { type: "life", params: "stopped" },
          { type: "report", params: "stopped" },
        ],
        on: {
          start: { target: "starting", actions: ["forgive", "begin", "launch"] },
          restart: { target: "starting", actions: ["forgive", "begin", "launch"] },
          // Asked to stop once more: say that it has.
          stop: { actions: { type: "report", params: "stopped" } },
        },
      },
      failed: {
        entry: [
          { type: "life", params: "failed" },
          { type: "report", params: "failed" },
        ],
        on: { stop: "stopped" },
      },
    },
  });
}
