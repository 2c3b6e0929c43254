import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import { authMachine, type Waiting } from "../../../services/auth/machine.ts";

const one: Waiting = { id: "g1", publicKeys: ["U1"], until: null, mid: "m1", output: 1 };
const two: Waiting = { id: "g2", publicKeys: ["U2"], until: 5, mid: "m2", output: 2 };
const revoke = (...revocations: Waiting[]) => ({ type: "revoke" as const, revocations });
const done = { type: "xstate.done.actor.0.auth.dropping", output: undefined };
const failed = { type: "xstate.error.actor.0.auth.dropping", error: new Error("no kernel") };
const retry = { type: "xstate.after.retry.auth.retrying" };

function play(waiting: Waiting[], ...events: unknown[]) {
  let [snapshot, actions] = initialTransition(authMachine, { waiting });
  for (const event of events) [snapshot, actions] = transition(authMachine, snapshot, event as never);
  const seen = actions as readonly { type: string; params?: unknown }[];
  return {
    state: snapshot.value,
    waiting: snapshot.context.waiting,
    replies: seen.filter(({ type }) => type === "reply").map(({ params }) => params),
    warned: seen.some(({ type }) => type === "warn"),
  };
}

test("with nothing to revoke it serves; what a crash left over is dropped first", () => {
  assert.is(play([]).state, "serving");
  assert.is(play([one]).state, "dropping");
  assert.equal(play([one], done), {
    state: "serving",
    waiting: [],
    replies: [[{ mid: "m1", output: 1 }]],
    warned: false,
  });
});

test("whoever revokes is answered once the broker has dropped the keys, and what came meanwhile is next", () => {
  const after = play([], revoke(one), revoke(two), done);
  assert.equal(after.replies, [[{ mid: "m1", output: 1 }]]);
  assert.is(after.state, "dropping");
  assert.equal(after.waiting, [two]);
  assert.equal(play([], revoke(one), revoke(two), done, done).replies, [[{ mid: "m2", output: 2 }]]);
});

test("without a kernel it answers all the same, once, for services refuse the holders already, and tries again", () => {
  const waiting = play([], revoke(one), revoke(two), failed);
  assert.is(waiting.state, "retrying");
  assert.ok(waiting.warned);
  assert.equal(waiting.replies, [[{ mid: "m1", output: 1 }]]);
  assert.equal(waiting.waiting, [{ id: "g1", publicKeys: ["U1"], until: null }, two]);
  assert.is(play([], revoke(one), failed, revoke(two)).state, "retrying");
  const again = play([], revoke(one), revoke(two), failed, retry, done);
  assert.equal(again.replies, [[{ mid: "m2", output: 2 }]]);
  assert.is(again.state, "serving");
});

test.run();
