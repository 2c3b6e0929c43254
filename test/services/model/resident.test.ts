import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import { residentMachine } from "../../../services/model/resident.ts";

const machine = (unwanted = true) => residentMachine.provide({ guards: { unwanted: () => unwanted } });
const need = (who: string) => ({ type: "need", who });
const release = (who: string) => ({ type: "release", who });
const row = { model: "fox@1", numerics: "n" };
const loaded = { type: "xstate.done.actor.0.resident.loading", output: row };
const failed = { type: "xstate.error.actor.0.resident.loading", error: new Error("full") };
const unloaded = { type: "xstate.done.actor.0.resident.unloading" };
const idle = { type: "xstate.after.idle.resident.resident.idle" };
const changed = { type: "changed" };
const retire = { type: "retire" };

function play(events: unknown[], unwanted = true) {
  const logic = machine(unwanted);
  let [snapshot] = initialTransition(logic, { id: "fox@1" });
  let actions: readonly { type: string }[] = [];
  for (const event of events) [snapshot, actions] = transition(logic, snapshot, event as never);
  const spawned = actions.filter(({ type }) => type === "xstate.spawnChild").length;
  return { state: snapshot.value, users: snapshot.context.users, loaded: snapshot.context.loaded, spawned };
}

test("it is loaded for the first who needs it, and once for all who wait", () => {
  assert.is(play([]).state, "absent");
  assert.equal(play([need("a")]), { state: "loading", users: ["a"], loaded: undefined, spawned: 1 });
  assert.equal(play([need("a"), need("b")]).spawned, 0);
  assert.equal(play([need("a"), need("b"), loaded]), {
    state: { resident: "used" },
    users: ["a", "b"],
    loaded: row,
    spawned: 0,
  } as never);
});

test("who says twice that it needs it is one user", () => {
  assert.equal(play([need("a"), loaded, need("a"), release("a")]).users, []);
});

test("it is idle when its last user is gone, and unloaded after a while only if no alias names it", () => {
  const used = [need("a"), need("b"), loaded];
  assert.equal(play([...used, release("a")]).state, { resident: "used" });
  assert.equal(play([...used, release("a"), release("b")]).state, { resident: "idle" });
  assert.equal(play([...used, release("a"), release("b"), idle], false).state, { resident: "idle" });
  assert.is(play([...used, release("a"), release("b"), idle]).state, "unloading");
});

test("a device that goes down or comes has it loaded again, users or not", () => {
  assert.is(play([need("a"), loaded, changed]).state, "loading");
  assert.is(play([need("a"), changed]).spawned, 1);
  assert.equal(play([need("a"), loaded, changed, loaded]).state, { resident: "used" });
  assert.is(play([changed]).state, "absent");
});

test("retired, it goes when its last user does; who comes meanwhile may still use it", () => {
  assert.is(play([need("a"), loaded, release("a"), retire]).state, "unloading");
  const retiring = [need("a"), loaded, retire];
  assert.equal(play(retiring).state, { resident: "retiring" });
  assert.equal(play([...retiring, need("b"), release("a")]).state, { resident: "retiring" });
  assert.is(play([...retiring, release("a")]).state, "unloading");
});

test("who needs it while it is unloaded gets it loaded again after", () => {
  const unloading = [need("a"), loaded, release("a"), retire];
  const { state, loaded: kept } = play([...unloading, unloaded]);
  assert.is(state, "absent");
  assert.is(kept, undefined);
  assert.is(play([...unloading, need("b"), unloaded]).state, "loading");
});

test("a load that failed is told, and the next need makes another attempt", () => {
  const { state, loaded: none } = play([need("a"), failed]);
  assert.is(state, "failed");
  assert.is(none, undefined);
  assert.is(play([need("a"), failed, release("a"), need("b")]).state, "loading");
});

test.run();
