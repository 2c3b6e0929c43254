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

/** State, free bytes of device-1 and what was done, after each event; a number lets so many ms pass. */
function play(...events: unknown[]) {
  let now = 0;
  let [snapshot] = initialTransition(memoryMachine, { now: () => now });
  let actions: readonly { type: string; params?: unknown }[] = [];
  for (const event of events) {
    if (typeof event === "number") {
      now += event;
      continue;
    }
    [snapshot, actions] = transition(memoryMachine, snapshot, event as MemoryEvent);
  }
  return { state: snapshot.value, budgets: snapshot.context.budgets, actions };
}

/** What the last event was refused with. */
function refusal({ actions }: ReturnType<typeof play>, at = 0): { mid: string; error: SomaError } {
  assert.is(actions[at]!.type, "refuse");
  return actions[at]!.params as { mid: string; error: SomaError };
}

test("it begins by asking the devices, and answers EAGAIN until they have spoken", () => {
  const [snapshot, actions] = initialTransition(memoryMachine, { now: () => 0 });
  assert.is(snapshot.value, "surveying");
  assert.equal(
    actions.map(({ type }) => type),
    ["xstate.spawnChild"],
  );
  for (const event of [reserve(1), release]) {
    const { mid, error } = refusal(play(report, 700, event));
    assert.is(mid, "m");
    assert.is(error.code, "EAGAIN");
    assert.is(error.retryAfterMs, 700, "as long again as it has been asking");
  }
});

test("who finds too little memory is told when so much is expected free, at the pace measured so far", () => {
  const wait = (...events: unknown[]) => refusal(play(surveyed, report, ...events, reserve(700))).error.retryAfterMs!;
  const other = (bytes: number) => ({
    ...reserve(0),
    input: { device: "device-1", holder: "b/kv", kind: "kv", bytes },
  });
  assert.is(wait(other(900), 4_000), 4_000, "nothing came free so far: as long again");
  // 300 of the missing 600 bytes came free within a second.
  assert.is(wait(other(900), other(600), 1_000, other(900)), 2_000);
  assert.is(wait(other(900), other(600), 3_000, other(900)), 6_000, "slower");
  const twice = wait(other(900), other(600), 1_000, other(400), 1_000, other(900));
  assert.ok(twice > 2_390 && twice < 2_410, `500 bytes in two seconds: ${twice}`);
  const long = wait(other(900), other(600), 3_600_000, other(900));
  assert.is(long, 60_000, "what a person may change is not waited for longer than a minute");
  assert.ok(wait(other(900), other(600), 600_000, other(900), other(600), 100, other(900)) < 60_000, "old paces fade");
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
  const again = refusal(play(surveyed, reserve(1, "device-9"), 300, reserve(1, "device-9")), 1);
  assert.is(again.error.retryAfterMs, 300, "as long again as it has not answered");
});

test("a device that is down, or not among those that run, is forgotten in either state", () => {
  assert.equal(play(report, { type: "down", device: "device-1" }).budgets, {});
  assert.equal(play(surveyed, report, { type: "down", device: "device-1" }).budgets, {});
  assert.equal(play(surveyed, report, { type: "running", devices: [] }).budgets, {});
});

test.run();
