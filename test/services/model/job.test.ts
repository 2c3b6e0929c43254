import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { type Job, jobMachine } from "../../../services/model/job.ts";

const fresh: Job = {
  id: "j1",
  input: { name: "mine", architecture: "llama", data: "builtin", config: {}, hyper: {}, seed: 1 },
  owner: { principal: "person" },
  submittedAt: 0,
  attempts: 0,
  crashes: 0,
  curve: [],
};
const prepared = { data: "blob:d", dataHash: "h", spec: {}, note: "" };
const output = { weights: "blob:w", bytes: 1, steps: 9, loss: 0.1, stopped: "steps" };
const figures = { test: { cases: 1, exactMatch: 1, chrf: 100, loss: 0.1 } };
const done = (state: string, output?: unknown) => ({ type: `xstate.done.actor.0.job.active.${state}`, output });
const failed = (state: string, error: unknown) => ({ type: `xstate.error.actor.0.job.active.${state}`, error });
const start = { type: "start" };
const stop = { type: "stop" };
const pause = { type: "xstate.after.pause.job.active.waiting" };
const down = new SomaError("ESERVICEDOWN", "device-1 went down");
const away = new SomaError("ESERVICEDOWN", "nobody serves device", { executed: "no" });
const wrong = new SomaError("EINVAL", "data:2: not JSON");
const progress = (step: number, checkpoint?: string) => ({
  type: "progress",
  progress: {
    step,
    steps: 9,
    loss: 1 / step,
    lr: 1,
    tokens: 1,
    tokensPerSecond: 1,
    etaMs: 1,
    ...(checkpoint ? { checkpoint } : {}),
  },
});
const STEPS = {
  preparing: [start],
  training: [start, done("preparing", prepared)],
  evaluating: [start, done("preparing", prepared), { type: "trained", output }],
  registering: [start, done("preparing", prepared), { type: "trained", output }, done("evaluating", figures)],
};

function play(events: unknown[], job: Partial<Job> = {}) {
  let [snapshot, actions] = initialTransition(jobMachine, { ...fresh, ...job });
  for (const event of events) [snapshot, actions] = transition(jobMachine, snapshot, event as never);
  const { value, context } = snapshot;
  return {
    state: typeof value === "string" ? value : (value as { active: string }).active,
    context,
    final: snapshot.status === "done",
    actions: actions.filter(({ type }) => !type.startsWith("xstate.")).map(({ type, params }) => [type, params]),
  };
}
const saved = (state: string) => ["save", { state }];

test("a job goes its way step by step, and each step is stored", () => {
  assert.is(play([]).state, "queued");
  for (const [state, events] of Object.entries(STEPS)) {
    const { state: reached, actions } = play(events);
    assert.is(reached, state);
    assert.equal(actions, [saved(state)]);
  }
  const { state, context, final, actions } = play([...STEPS.registering, done("registering", 3)]);
  assert.is(state, "done");
  assert.is(context.version, 3);
  assert.ok(final);
  assert.equal(actions, [saved("done"), ["clean", undefined]]);
});

test("it deploys when it was asked to", () => {
  const input = { ...fresh.input, deploy: "default" };
  const events = [...STEPS.registering, done("registering", 3)];
  assert.is(play(events, { input }).state, "deploying");
  assert.is(play([...events, done("deploying")], { input }).state, "done");
});

test("a job that is taken up again goes on where its results end", () => {
  const cases: [Partial<Job>, string][] = [
    [{}, "preparing"],
    [{ prepared }, "training"],
    [{ prepared, checkpoint: "blob:c" }, "training"],
    [{ prepared, trained: output }, "evaluating"],
    [{ prepared, trained: output, eval: figures }, "registering"],
    // Its staged folder was lost: the files are made again, the weights are not.
    [{ trained: output, eval: figures }, "preparing"],
    [{ version: 3 }, "done"],
  ];
  for (const [job, state] of cases) assert.is(play([start], job).state, state);
});

test("progress is told, a checkpoint is stored and clears the crashes", () => {
  const told = play([...STEPS.training, progress(3)]);
  assert.equal(told.actions, [["note", { state: "training" }]]);
  assert.equal(told.context.curve, [{ step: 3, loss: 1 / 3 }]);
  const kept = play([...STEPS.training, progress(5, "blob:c")], { crashes: 2 });
  assert.equal(kept.actions, [["drop", { blob: undefined }], saved("training")]);
  assert.is(kept.context.checkpoint, "blob:c");
  assert.is(kept.context.crashes, 0);
});

test("an older checkpoint is given back when a newer one is there", () => {
  const { actions } = play([...STEPS.training, progress(5, "blob:c"), progress(7, "blob:e")]);
  assert.equal(actions, [["drop", { blob: "blob:c" }], saved("training")]);
});

test("a run that is resumed writes the curve anew from its checkpoint on", () => {
  const { context } = play([...STEPS.training, progress(3), progress(5), progress(4)]);
  assert.equal(
    context.curve.map(({ step }) => step),
    [3, 4],
  );
});

test("the id of the device's request is stored before anything else comes", () => {
  const { context, actions } = play([...STEPS.training, { type: "asked", request: "r1" }]);
  assert.is(context.request, "r1");
  assert.equal(actions, [saved("training")]);
});

test("a crash waits and goes on; the third without a checkpoint sets the job aside with its error", () => {
  const crash = [{ type: "broken", error: down }, pause];
  const waiting = play([...STEPS.training, crash[0]]);
  assert.is(waiting.state, "waiting");
  assert.is(waiting.context.crashes, 1);
  assert.is(play([...STEPS.training, ...crash]).state, "training");
  const { state, context, final } = play([...STEPS.training, ...crash, ...crash, crash[0]]);
  assert.is(state, "setAside");
  assert.ok(final);
  assert.is(context.error, "device-1 went down");
  assert.is(play([...STEPS.training, ...crash, ...crash, progress(5, "blob:c"), crash[0]]).state, "waiting");
});

test("crashes before this start count, too: such a job is not even begun", () => {
  assert.is(play([start], { prepared, crashes: 3 }).state, "setAside");
});

test("what was surely not begun is waited for and never counted", () => {
  const events = Array.from({ length: 9 }, () => [{ type: "broken", error: away }, pause]).flat();
  const { state, context } = play([...STEPS.training, ...events]);
  assert.is(state, "training");
  assert.is(context.crashes, 0);
});

test("an error of the caller fails the job in each step, with its message", () => {
  for (const [state, events] of Object.entries(STEPS)) {
    const failure = state === "training" ? { type: "broken", error: wrong } : failed(state, wrong);
    const { state: reached, context, actions } = play([...events, failure]);
    assert.is(reached, "failed");
    assert.is(context.error, "data:2: not JSON");
    assert.equal(actions.at(-1), ["clean", undefined]);
  }
});

test("a crash in every step waits", () => {
  for (const [state, events] of Object.entries(STEPS)) {
    if (state !== "training") assert.is(play([...events, failed(state, down)]).state, "waiting");
  }
});

test("our own bug ends the process and leaves the job as it is", () => {
  const bug = new TypeError("x is undefined");
  const { state, actions } = play([...STEPS.preparing, failed("preparing", bug)]);
  assert.is(state, "preparing");
  assert.equal(actions, [["crash", { error: bug }]]);
});

test("a loss that is no number fails the job, and the last good weights stay as its checkpoint", () => {
  const diverged = { type: "trained", output: { ...output, stopped: "diverged" } };
  const note = { ...progress(5), progress: { ...progress(5).progress, note: "loss is not a number after step 5" } };
  const { state, context } = play([...STEPS.training, note, diverged]);
  assert.is(state, "failed");
  assert.is(context.error, "loss is not a number after step 5");
  assert.is(context.checkpoint, "blob:w");
  assert.is(play([...STEPS.training, progress(3, "blob:c"), diverged]).context.checkpoint, "blob:c");
});

test("stop cancels it in every state, and its checkpoint stays", () => {
  const waiting = [...STEPS.training, { type: "broken", error: down }];
  for (const events of [[], ...Object.values(STEPS), waiting]) {
    const { state, final, actions } = play([...events, stop], { checkpoint: "blob:c" });
    assert.is(state, "canceled");
    assert.ok(final);
    assert.equal(actions, [saved("canceled"), ["clean", undefined]]);
  }
});

test.run();
