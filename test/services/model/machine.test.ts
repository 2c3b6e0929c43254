import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import type { Job } from "../../../services/model/job.ts";
import { modelMachine } from "../../../services/model/machine.ts";

const job = (id: string) => ({
  type: "job",
  job: { id, input: {}, owner: { principal: "p" }, curve: [] } as unknown as Job,
});
const done = (id: string) => ({ type: `xstate.done.actor.${id}` });

function play(...events: unknown[]) {
  let [snapshot] = initialTransition(modelMachine);
  let actions: readonly { type: string; params?: unknown }[] = [];
  for (const event of events) [snapshot, actions] = transition(modelMachine, snapshot, event as never);
  return {
    ...snapshot.context,
    children: Object.keys(snapshot.children),
    actions: actions.map(({ type, params }) => [type, params]),
  };
}

test("each request is an actor, which is gone when it is done", () => {
  const request = { type: "request", mid: "alice/1", call: "generate" };
  assert.equal(play(request).children, ["request.alice/1"]);
  assert.equal(play(request, done("request.alice/1")).children, []);
});

test("jobs have their turn one at a time, in the order in which they came", () => {
  const two = play(job("a"), job("b"), job("c"));
  assert.equal([two.working, two.queue], ["a", ["b", "c"]]);
  assert.equal(two.children, ["job.a", "job.b", "job.c"]);
  const next = play(job("a"), job("b"), job("c"), done("job.a"));
  assert.equal([next.working, next.queue], ["b", ["c"]]);
  assert.equal(next.children, ["job.b", "job.c"]);
  assert.ok(next.actions.some(([type]) => type === "xstate.sendTo"));
});

test("a job that ends while it waits leaves the queue and gives no turn away", () => {
  const { working, queue } = play(job("a"), job("b"), job("c"), done("job.b"));
  assert.equal([working, queue], ["a", ["c"]]);
});

test("what no state takes is refused by the id of its request", () => {
  assert.equal(play({ type: "nonsense", mid: "alice/2" }).actions, [["refuse", { mid: "alice/2", event: "nonsense" }]]);
});

test.run();
