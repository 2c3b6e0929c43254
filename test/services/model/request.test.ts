import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { requestMachine } from "../../../services/model/request.ts";

const input = { mid: "alice/1", call: "generate" };
const done = (state: string, output: unknown) => ({ type: `xstate.done.actor.0.request.${state}`, output });
const failed = (state: string, error: unknown) => ({ type: `xstate.error.actor.0.request.${state}`, error });
const planned = done("planning", { id: "fox@1" });
const loaded = done("loading", undefined);
const down = failed("running", new SomaError("ESERVICEDOWN", "scheduler-1 went down"));
const again = { type: "xstate.after.pause.request.waiting" };

/** State and actions, by name and params, after the events. */
function play(...events: unknown[]) {
  let [snapshot, actions] = initialTransition(requestMachine, input);
  for (const event of events) [snapshot, actions] = transition(requestMachine, snapshot, event as never);
  const done = actions.filter(({ type }) => !type.startsWith("xstate."));
  return { snapshot, state: snapshot.value, actions: done.map(({ type, params }) => [type, params]) };
}
const forget = ["forget", { mid: "alice/1" }];

test("a request is planned, gets its model, runs, and is answered and forgotten once", () => {
  assert.is(play().state, "planning");
  assert.is(play(planned).state, "loading");
  assert.equal(play(planned).snapshot.context.need, { id: "fox@1" });
  assert.is(play(planned, loaded).state, "running");
  const { state, snapshot, actions } = play(planned, loaded, done("running", { text: "hi" }));
  assert.is(state, "answered");
  assert.is(snapshot.status, "done");
  assert.equal(actions, [["reply", { mid: "alice/1", output: { text: "hi" } }], forget]);
});

test("a failure of any step is its one answer", () => {
  const error = new SomaError("EINVAL", "no");
  for (const events of [
    [failed("planning", error)],
    [planned, failed("loading", error)],
    [planned, loaded, failed("running", error)],
  ]) {
    const { state, actions } = play(...events);
    assert.is(state, "refused");
    assert.equal(actions, [["refuse", { mid: "alice/1", error }], forget]);
  }
});

test("a run that was lost asks for its model again and goes on, six times at most", () => {
  const { state, actions } = play(planned, loaded, down);
  assert.is(state, "waiting");
  assert.equal(actions, []);
  assert.is(play(planned, loaded, down, again).state, "loading");
  const lost = [down, again, loaded];
  const six = Array.from({ length: 6 }, () => lost).flat();
  assert.is(play(planned, loaded, ...six).state, "running");
  assert.is(play(planned, loaded, ...six, down).state, "refused");
});

test("what cannot be gone on with exactly is not tried again", () => {
  const error = new SomaError("ESERVICEDOWN", "other arithmetic", { retryable: false });
  assert.is(play(planned, loaded, failed("running", error)).state, "refused");
});

test("cancel ends it in every state, without an answer of its own", () => {
  for (const events of [[], [planned], [planned, loaded], [planned, loaded, down]]) {
    const { state, actions } = play(...events, { type: "cancel" });
    assert.is(state, "canceled");
    assert.equal(actions, [forget]);
  }
});

test.run();
