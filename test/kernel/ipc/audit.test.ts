// The queue before the chain: batches, retries, bounds, and who waits for what.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Audit, type AuditOptions, type Caller } from "../../../kernel/ipc/audit.ts";
import { type Batch, check, genesis, type Record, unpack } from "../../../kernel/ipc/chain.ts";

const SUBJECT = "audit.memory-1.2";
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const caller = (id: string, more: Partial<Caller> = {}): Caller => ({
  ...{ caller: "alice", principal: { principal: "alice", grant: "g1", revision: 2 }, id },
  ...more,
});

/** An audit over a store that a test switches off and on. */
function world(options: Partial<AuditOptions> = {}) {
  const batches: Batch[] = [];
  const ids: string[] = [];
  const state = { away: false, attempts: 0, warnings: 0 };
  const audit = new Audit({
    ...{ instance: "memory-1", epoch: 2, now: () => 1_000 },
    store: async (batch, id) => {
      state.attempts += 1;
      await sleep(1);
      if (state.away) throw new Error("away");
      batches.push(batch);
      ids.push(id);
    },
    warn: () => (state.warnings += 1),
    ...options,
  });
  /** All that is stored, checked as one chain. */
  const records = (): Record[] => {
    let head = genesis(SUBJECT);
    for (const batch of batches) {
      const checked = check(head, batch);
      assert.equal(checked.faults, []);
      head = checked.head;
    }
    return batches.flatMap(({ rows }) => rows.map((row) => unpack(row)!));
  };
  return { audit, batches, ids, state, records };
}

test("outcomes of a moment go out as one batch, between open and close", async () => {
  const { audit, batches, records } = world();
  const output = { model: "tiny", version: 3, usage: { promptTokens: 5, newTokens: 7 } };
  audit.outcome(caller("a"), "memory.get", "OK", 1.5, output);
  audit.outcome(caller("b", { noted: { model: "tiny@2" } }), "memory.get", "ETIME", 20);
  assert.is(batches.length, 0);
  await audit.close(1_000);
  assert.is(batches.length, 1);
  const common = { what: "call", at: 1_000, caller: "alice", principal: "alice", grant: "g1", revision: 2, times: 1 };
  assert.equal(records(), [
    { seq: 1, what: "open", at: 1_000 },
    { seq: 2, ...common, call: "memory.get", id: "a", code: "OK", ms: 1.5, model: "tiny", version: 3, tokens: 12 },
    { seq: 3, ...common, call: "memory.get", id: "b", code: "ETIME", ms: 20, model: "tiny@2" },
    { seq: 4, what: "close", at: 1_000 },
  ]);
});

test("a record is stored within a tenth of a second though nothing follows it", async () => {
  const { audit, records } = world();
  audit.outcome(caller("a"), "memory.get", "OK", 1);
  await sleep(400);
  assert.is(records().length, 2);
  await audit.close(1_000);
});

test("what must be stored first resolves only once it is, at once, with all before it", async () => {
  const { audit, state, records } = world();
  state.away = true;
  audit.outcome(caller("a"), "memory.get", "OK", 1);
  let done = false;
  const stored = audit.stored(caller("b"), "memory.get", "OK", 1).then(() => (done = true));
  await sleep(50);
  assert.is(done, false);
  assert.is(state.attempts, 1);
  state.away = false;
  await stored;
  assert.equal(
    records().map((record) => record.what === "call" && record.id),
    [false, "a", "b"],
  );
  assert.is(state.warnings, 1);
  await audit.close(1_000);
});

test("whoever waited may record the next thing at once", async () => {
  const { audit, records } = world();
  for (const id of ["a", "b", "c"]) await audit.stored(caller(id), "memory.get", "OK", 1);
  assert.is(records().length, 4);
  await audit.close(1_000);
});

test("a batch is tried again unchanged under the same id", async () => {
  const seen: string[] = [];
  const { audit, ids, state, records } = world();
  state.away = true;
  void audit.stored(caller("a"), "memory.get", "OK", 1);
  await sleep(30);
  audit.outcome(caller("b"), "memory.get", "OK", 1);
  state.away = false;
  await audit.close(2_000);
  seen.push(...ids);
  assert.equal(seen, [`${SUBJECT}.1`, `${SUBJECT}.3`]);
  assert.is(records().length, 4);
});

test("equal refusals at the door are one record with a count", async () => {
  const { audit, records } = world();
  for (let i = 0; i < 1_000; i++) audit.refused("mallory", "memory.wipe", `id${i}`, "EPERM");
  audit.refused("mallory", "memory.wipe", "other", "EINVAL");
  await audit.close(1_000);
  const calls = records().filter((record) => record.what === "call");
  assert.equal(
    calls.map(({ code, times, id }) => [code, times, id]),
    [
      ["EPERM", 1_000, "id0"],
      ["EINVAL", 1, "other"],
    ],
  );
});

test("while the broker is away the queue is bounded; what is lost is counted in its place", async () => {
  const { audit, state, records } = world();
  state.away = true;
  const total = 40_000;
  for (let i = 0; i < total; i++) audit.outcome(caller(`id${i}`), "memory.get", "OK", 1);
  await sleep(20);
  const { auditWaiting } = audit.figures();
  assert.ok(auditWaiting < 20_000, `${auditWaiting} wait`);
  state.away = false;
  await sleep(1_500);
  audit.outcome(caller("last"), "memory.get", "OK", 1);
  await audit.close(10_000);
  const all = records();
  const lost = all.filter((record) => record.what === "lost");
  const calls = all.filter((record) => record.what === "call");
  assert.ok(lost.length > 0);
  assert.is(calls.length + lost.reduce((sum, { times }) => sum + times, 0), total + 1);
  assert.is(calls.at(-1)?.id, "last");
  // No call recorded before the gap comes after it.
  const gap = all.findIndex(({ what }) => what === "lost");
  assert.equal(
    calls.slice(0, 5).map(({ id }) => id),
    ["id0", "id1", "id2", "id3", "id4"],
  );
  assert.ok(gap > 10_000);
});

test("prompts are kept only for a holder whose grant says so, and cut", async () => {
  const { audit, records } = world({ storesPrompts: (holder) => holder === "alice" });
  const say = (name: string, grant: string | undefined, input: unknown) => {
    const principal = grant === undefined ? { principal: name } : { principal: name, grant };
    audit.outcome(caller(name, { caller: name, noted: audit.note(name, principal, input) }), "memory.get", "OK", 1);
  };
  say("alice", "g", { model: "tiny", prompt: "x".repeat(20_000) });
  say("bob", "g", { model: "tiny", prompt: "secret" });
  say("person", undefined, { model: "tiny", messages: [{ role: "user", content: "secret" }] });
  await audit.close(1_000);
  const calls = records().filter((record) => record.what === "call");
  assert.equal(
    calls.map(({ caller, model, prompt }) => [caller, model, prompt?.length]),
    [
      ["alice", "tiny", 8_192],
      ["bob", "tiny", undefined],
      ["person", "tiny", undefined],
    ],
  );
  assert.not.match(JSON.stringify(calls), /secret/);
});

test("close gives up on a broker that is away", async () => {
  const { audit, state } = world();
  state.away = true;
  await audit.close(50);
  assert.ok(state.attempts >= 1);
});

test.run();
