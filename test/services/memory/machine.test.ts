import { test } from "uvu";
import * as assert from "uvu/assert";
import { initialTransition, transition } from "xstate";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { type MemoryEvent, memoryMachine } from "../../../services/memory/machine.ts";

const report: MemoryEvent = { type: "report", report: { device: "device-1", budgetBytes: 1000, models: [] } };
const reserve = (bytes: number, device = "device-1"): MemoryEvent => ({
  type: "reserve",
  mid: "m",
  input: { device, holder: "a/kv", kind: "kv", bytes },
});
const release: MemoryEvent = { type: "release", mid: "m", input: { device: "device-1", holder: "a/kv" } };
const surveyed = { type: "xstate.done.actor.0.memory.surveying", output: undefined, actorId: "0.memory.surveying" };

/** State, free bytes of device-1 and what was done, after each event. */
function play(...events: unknown[]) {
  let [snapshot] = initialTransition(memoryMachine);
  let actions: readonly { type: string; params?: unknown }[] = [];
  for (const event of events) {
    [snapshot, actions] = transition(memoryMachine, snapshot, event as MemoryEvent);
  }
  return { state: snapshot.value, budgets: snapshot.context.budgets, actions };
}

test("it begins by asking the devices, and answers EAGAIN until they have spoken", () => {
  const [snapshot, actions] = initialTransition(memoryMachine);
  assert.is(snapshot.value, "surveying");
  assert.equal(
    actions.map(({ type }) => type),
    ["xstate.spawnChild"],
  );
  for (const event of [reserve(1), release]) {
    const { actions } = play(report, event);
    assert.is(actions[0]!.type, "refuse");
    const { mid, error } = actions[0]!.params as { mid: string; error: SomaError };
    assert.is(mid, "m");
    assert.is(error.code, "EAGAIN");
    assert.ok(error.retryAfterMs! > 0);
  }
});

test("what devices report before and after the survey counts", () => {
  assert.is(play(report, surveyed).state, "serving");
  const { actions } = play(report, surveyed, reserve(400));
  assert.equal(
    actions.map(({ type, params }) => [type, params]),
    [["reply", { mid: "m", freeBytes: 600 }]],
  );
  assert.equal(Object.keys(play(surveyed, report).budgets), ["device-1"]);
});

test("each reserve and each release gets one answer, and what is refused changes nothing", () => {
  const before = play(surveyed, report, reserve(400));
  const refused = play(surveyed, report, reserve(400), reserve(2000));
  assert.equal(
    refused.actions.map(({ type }) => type),
    ["refuse"],
  );
  assert.equal(refused.budgets, before.budgets);
  const released = play(surveyed, report, reserve(400), release);
  assert.equal(
    released.actions.map(({ type, params }) => [type, params]),
    [["reply", { mid: "m", freeBytes: 1000 }]],
  );
});

test("a device that nobody knows yet is asked, and its caller told to come again", () => {
  const { actions } = play(surveyed, reserve(1, "device-9"));
  assert.equal(
    actions.map(({ type }) => type),
    ["ask", "refuse"],
  );
  assert.equal(actions[0]!.params, { device: "device-9" });
});

test("a device that is down, or not among those that run, is forgotten in either state", () => {
  assert.equal(play(report, { type: "down", device: "device-1" }).budgets, {});
  assert.equal(play(surveyed, report, { type: "down", device: "device-1" }).budgets, {});
  assert.equal(play(surveyed, report, { type: "running", devices: [] }).budgets, {});
});

test.run();
