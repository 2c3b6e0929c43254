import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { type LoadInput, modelMachine } from "../../../services/device/model.ts";

const input = { model: "tiny@1" } as LoadInput;
const done = (state: string, output: unknown = {}) => ({ type: `xstate.done.actor.0.model.${state}`, output });
const failed = (state: string, error: unknown) => ({ type: `xstate.error.actor.0.model.${state}`, error });
const run = (mid: string) => ({ type: "run", mid, model: "tiny@1", input: { quantum: mid } });
const unload = { type: "unload", mid: "u", model: "tiny@1" };

/** The state after these events, and [action, who was answered or the code] of the last one. */
function play(...events: object[]) {
  let [snapshot, actions] = initialTransition(modelMachine, { mid: "l", input });
  for (const event of events) [snapshot, actions] = transition(modelMachine, snapshot, event as never);
  const said = actions
    .filter(({ type }) => !type.startsWith("xstate."))
    .map(({ type, params }) => {
      const { mids, mid, code } = (params ?? {}) as { mids?: string[]; mid?: string; code?: string };
      return [type, ...(mids ?? (mid === undefined ? [] : [mid])), ...(code === undefined ? [] : [code])].join(" ");
    });
  return { state: snapshot.value, said, context: snapshot.context };
}

test("whoever asks for a model that is being loaded is answered when it is there", () => {
  const { state, said } = play({ type: "load", mid: "l2", input }, done("loading"));
  assert.is(state, "idle");
  assert.equal(said, ["reply l l2", "announce"]);
});

test("a load that fails answers everybody and leaves no model", () => {
  const { state, said } = play({ type: "load", mid: "l2", input }, failed("loading", new SomaError("ENOMEM", "no")));
  assert.is(state, "gone");
  assert.equal(said, ["fail l l2"]);
});

test("nothing is dropped while it loads: a quantum is told to come again", () => {
  assert.equal(play(run("q1")).said, ["refuse q1 EAGAIN"]);
});

test("one quantum runs, the next may be handed over, a third is refused", () => {
  assert.is(play(done("loading"), run("q1")).state, "running");
  const handed = play(done("loading"), run("q1"), run("q2"));
  assert.is(handed.context.next?.mid, "q2");
  assert.equal(play(done("loading"), run("q1"), run("q2"), run("q3")).said, ["refuse q3 EBUSY"]);
});

test("when a quantum ends its report goes out and the next one runs at once", () => {
  const next = play(done("loading"), run("q1"), run("q2"), done("running"));
  assert.equal([next.state, next.said, next.context.current?.mid], ["running", ["reply q1"], "q2"]);
  const last = play(done("loading"), run("q1"), run("q2"), done("running"), done("running"));
  assert.equal([last.state, last.said, last.context.current], ["idle", ["reply q2"], undefined]);
});

test("a malformed quantum is answered and the model stays; lost state ends the actor", () => {
  const wrong = play(done("loading"), run("q1"), failed("running", new SomaError("EINVAL", "wrong")));
  assert.equal([wrong.state, wrong.said], ["idle", ["fail q1"]]);
  const goesOn = play(done("loading"), run("q1"), run("q2"), failed("running", new SomaError("EINVAL", "wrong")));
  assert.equal([goesOn.state, goesOn.context.current?.mid], ["running", "q2"]);
});

test("unloading cuts the running quantum short, answers it, refuses the next, then frees", () => {
  const asked = play(done("loading"), run("q1"), run("q2"), unload);
  assert.equal([asked.state, asked.said], ["running", ["interrupt"]]);
  const leaving = play(done("loading"), run("q1"), run("q2"), unload, done("running"));
  assert.equal([leaving.state, leaving.said], ["unloading", ["reply q1", "refuse q2 ENOENT"]]);
  assert.equal(play(done("loading"), unload, run("q9")).said, ["refuse q9 EAGAIN"]);
  const gone = play(done("loading"), unload, done("unloading", { freedBytes: 1 }));
  assert.equal([gone.state, gone.said], ["gone", ["reply u", "announce"]]);
});

test.run();
