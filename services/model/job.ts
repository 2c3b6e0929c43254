// Owns the life of a training job. Where it goes on after a crash follows from what it has already: the context is all there is to store.
import { assign, type CallbackActorLogic, type PromiseActorLogic, setup } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import type { Chunk, Output } from "../../kernel/abi/syscalls.ts";
import type { TrainInput } from "./hyper.ts";
import { type Evaluation, type LossPoint, thin } from "./record.ts";
import type { Templates } from "./text/templates.ts";

export type Progress = Chunk<"device.train">;

/** What preparing leaves: the dataset as a blob, and the staged folder with the other files. */
export interface Prepared {
  data: string;
  dataHash: string;
  spec: Record<string, unknown>;
  note: string;
  /** Of a model that knows text. */
  templates?: Templates;
  stopIds?: number[];
}

/** A job as it is stored in KV and lives in its machine's context: plain data. */
export interface Job {
  id: string;
  input: TrainInput;
  owner: Principal;
  /** W3C context of the call that submitted it, for what is done on its behalf. */
  trace?: string;
  submittedAt: number;
  /** Runs that were begun, and those that were cut off since the last checkpoint. */
  attempts: number;
  crashes: number;
  progress?: Progress;
  curve: LossPoint[];
  prepared?: Prepared;
  checkpoint?: string;
  /** Id of the device request, to end a run that nobody listens to any more. */
  request?: string;
  trained?: Output<"device.train">;
  eval?: Record<string, Evaluation>;
  version?: number;
  error?: string;
}

export const FINAL = ["done", "failed", "canceled", "setAside"] as const;

/** A job whose worker dies so often without a new checkpoint is set aside: it would kill the next one, too. */
export const CRASHES = 3;

type Event =
  | { type: "start" }
  | { type: "stop" }
  | { type: "asked"; request: string }
  | { type: "progress"; progress: Progress }
  | { type: "trained"; output: Output<"device.train"> }
  | { type: "broken"; error: unknown };

/** How an error ends or interrupts a job. */
function kindOf(error: unknown): "bug" | "later" | "crash" | "fault" {
  if (!(error instanceof SomaError)) return "bug";
  if (error.retryable && error.executed === "no") return "later";
  return ["ESERVICEDOWN", "EIO", "ETIME"].includes(error.code) ? "crash" : "fault";
}

const message = (error: unknown) => (error instanceof Error ? error.message : String(error));

interface Failure {
  error: unknown;
}

const machine = setup({
  types: { context: {} as Job, input: {} as Job, events: {} as Event },
  actors: {
    prepare: {} as PromiseActorLogic<Prepared, Job>,
    /** Sends asked, progress, then trained or broken. */
    train: {} as CallbackActorLogic<{ type: "stop" }, Job>,
    evaluate: {} as PromiseActorLogic<Record<string, Evaluation>, Job>,
    register: {} as PromiseActorLogic<number, Job>,
    deploy: {} as PromiseActorLogic<void, Job>,
  },
  actions: {
    /** Stores the job under this state, and tells those who follow it. */
    save: (_, _params: { state: string }) => {},
    /** The same soon: progress comes often. */
    note: (_, _params: { state: string }) => {},
    crash: (_, _params: Failure) => {},
    /** Gives back what only an unfinished job needs. */
    clean: () => {},
    /** Gives a blob back that a newer one replaces. */
    drop: (_, _params: { blob: string | undefined }) => {},
    setError: assign((_, { error }: Failure) => ({ error: message(error) })),
    countAttempt: assign(({ context }) => ({ attempts: context.attempts + 1 })),
    countCrash: assign(({ context }) => ({ crashes: context.crashes + 1 })),
  },
  guards: {
    bug: (_, { error }: Failure) => kindOf(error) === "bug",
    later: (_, { error }: Failure) => kindOf(error) === "later",
    crashed: (_, { error }: Failure) => kindOf(error) === "crash",
    spent: ({ context }, { error }: Failure) => kindOf(error) === "crash" && context.crashes + 1 >= CRASHES,
    worn: ({ context }) => context.crashes >= CRASHES,
  },
  delays: { pause: 1_000 },
});

/** Where each error leads, the same for all steps. */
function onError<E extends { error: unknown }>() {
  const params = ({ event }: { event: E }): Failure => ({ error: event.error });
  const setError = { type: "setError", params } as const;
  return [
    { guard: { type: "bug", params }, actions: { type: "crash", params } },
    { guard: { type: "later", params }, target: "#job.active.waiting", actions: setError },
    { guard: { type: "spent", params }, target: "#job.setAside", actions: [setError, "countCrash"] },
    { guard: { type: "crashed", params }, target: "#job.active.waiting", actions: [setError, "countCrash"] },
    { target: "#job.failed", actions: setError },
  ] as const;
}

const save = (state: string) => ({ type: "save", params: { state } }) as const;

export const jobMachine = machine.createMachine({
  id: "job",
  context: ({ input }) => input,
  initial: "queued",
  states: {
    queued: { entry: save("queued"), on: { start: { target: "active", actions: "countAttempt" }, stop: "canceled" } },
    active: {
      initial: "choosing",
      on: { stop: "#job.canceled" },
      states: {
        choosing: {
          always: [
            { guard: "worn", target: "#job.setAside" },
            { guard: ({ context }) => context.version !== undefined, target: "registered" },
            { guard: ({ context }) => context.prepared === undefined, target: "preparing" },
            { guard: ({ context }) => context.eval !== undefined, target: "registering" },
            { guard: ({ context }) => context.trained !== undefined, target: "evaluating" },
            { target: "training" },
          ],
        },
        preparing: {
          entry: save("preparing"),
          invoke: {
            src: "prepare",
            input: ({ context }) => context,
            onDone: { target: "choosing", actions: assign({ prepared: ({ event }) => event.output }) },
            onError: onError() as never,
          },
        },
        training: {
          entry: save("training"),
          invoke: { src: "train", input: ({ context }) => context },
          on: {
            asked: {
              actions: [assign({ request: ({ event }) => event.request, error: undefined }), save("training")],
            },
            progress: [
              {
                guard: ({ event }) => event.progress.checkpoint !== undefined,
                actions: [
                  {
                    type: "drop",
                    params: ({ context: { checkpoint }, event }) => ({
                      blob: checkpoint === event.progress.checkpoint ? undefined : checkpoint,
                    }),
                  },
                  assign(({ context, event: { progress } }) => ({
                    ...learned(context, progress),
                    checkpoint: progress.checkpoint,
                    crashes: 0,
                  })),
                  save("training"),
                ],
              },
              {
                actions: [
                  assign(({ context, event: { progress } }) => learned(context, progress)),
                  { type: "note", params: { state: "training" } },
                ],
              },
            ],
            trained: [
              {
                // The weights are those of the last good checkpoint: kept, but no model.
                guard: ({ event }) => event.output.stopped === "diverged",
                target: "#job.failed",
                actions: assign(({ context, event: { output } }) => ({
                  checkpoint: context.checkpoint ?? output.weights,
                  error: context.progress?.note ?? `training diverged after step ${output.steps}: try a lower lr`,
                })),
              },
              { target: "evaluating", actions: assign({ trained: ({ event }) => event.output, crashes: 0 }) },
            ],
            broken: onError() as never,
          },
        },
        evaluating: {
          entry: save("evaluating"),
          invoke: {
            src: "evaluate",
            input: ({ context }) => context,
            onDone: { target: "registering", actions: assign({ eval: ({ event }) => event.output }) },
            onError: onError() as never,
          },
        },
        registering: {
          entry: save("registering"),
          invoke: {
            src: "register",
            input: ({ context }) => context,
            onDone: { target: "registered", actions: assign({ version: ({ event }) => event.output }) },
            onError: onError() as never,
          },
        },
        registered: {
          always: [
            { guard: ({ context }) => context.input.deploy === undefined, target: "#job.done" },
            { target: "deploying" },
          ],
        },
        deploying: {
          entry: save("deploying"),
          invoke: {
            src: "deploy",
            input: ({ context }) => context,
            onDone: "#job.done",
            onError: onError() as never,
          },
        },
        // What was away comes back; then it goes on with what it has.
        waiting: {
          entry: save("waiting"),
          after: { pause: { target: "choosing", actions: "countAttempt" } },
        },
      },
    },
    done: { type: "final", entry: [assign({ error: undefined }), save("done"), "clean"] },
    failed: { type: "final", entry: [save("failed"), "clean"] },
    canceled: { type: "final", entry: [save("canceled"), "clean"] },
    setAside: { type: "final", entry: [save("setAside"), "clean"] },
  },
});

function learned({ curve }: Job, progress: Progress): Pick<Job, "curve" | "progress"> {
  const { step, loss, validationLoss } = progress;
  const point = { step, loss, ...(validationLoss === undefined ? {} : { validationLoss }) };
  // A resumed run repeats the steps since its checkpoint.
  const kept = curve.filter((old) => old.step < step);
  // Thinned well above what a record keeps, so that a job's row stays small, too.
  return { progress, curve: thin([...kept, point], 400) };
}
