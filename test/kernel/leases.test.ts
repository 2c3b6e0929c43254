import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../kernel/abi/codec.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { Leases, type LeaseVerdict, readBeat } from "../../kernel/leases.ts";

const TICK = 250;

/** Ticks from `from` to `to`, both included, each TICK apart. */
function ticks(leases: Leases, from: number, to: number, connected = true): LeaseVerdict[] {
  const verdicts: LeaseVerdict[] = [];
  for (let now = from; now <= to; now += TICK) verdicts.push(...leases.tick(now, connected));
  return verdicts;
}

const short = (verdicts: LeaseVerdict[]) => verdicts.map(({ instance, verdict }) => `${instance} ${verdict}`);

test("who does not beat is suspect after two beats and dead after three", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 1, 0);
  assert.equal(short(ticks(leases, 0, LIMITS.suspectAfter - TICK)), []);
  assert.equal(short(ticks(leases, LIMITS.suspectAfter, LIMITS.deadAfter - TICK)), ["memory-1 suspect"]);
  const [verdict, ...more] = ticks(leases, LIMITS.deadAfter, 20_000);
  assert.equal(verdict, { instance: "memory-1", verdict: "dead", reason: "no heartbeat for 3000 ms" });
  assert.equal(more, [], "once");
});

test("a beat of its epoch renews the lease; others count for nothing", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 2, 0);
  ticks(leases, 0, 2_000);
  assert.is(leases.beat("memory-1", 1, {}, 2_000), undefined, "a stale epoch");
  assert.is(leases.beat("other-1", 2, {}, 2_000), undefined);
  assert.equal(leases.beat("memory-1", 2, {}, 2_100), { instance: "memory-1", verdict: "beat" });
  assert.is(leases.beat("memory-1", 2, {}, 2_200), undefined, "it was not suspect");
  assert.equal(short(ticks(leases, 2_250, 4_100)), []);
});

test("a lost connection makes suspect at once, and once", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 1, 0);
  assert.equal(leases.doubt("memory-1"), { instance: "memory-1", verdict: "suspect" });
  assert.is(leases.doubt("memory-1"), undefined);
  assert.is(leases.doubt("nobody-1"), undefined);
  assert.equal(leases.beat("memory-1", 1, {}, 500), { instance: "memory-1", verdict: "beat" });
});

test("the kernel's own lag extends all leases", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 1, 0);
  ticks(leases, 0, 1_000);
  // Ten seconds without a look: stopped, or another process had the processor.
  assert.equal(leases.tick(11_000, true), []);
  assert.equal(short(ticks(leases, 11_250, 11_500)), [], "one second was over before, and the lag does not count");
  assert.equal(short(ticks(leases, 11_750, 12_750)), ["memory-1 suspect", "memory-1 dead"]);
});

test("no lease runs out while the broker is away", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 1, 0);
  assert.equal(ticks(leases, 0, 60_000, false), []);
  leases.extendAll(60_250);
  assert.equal(short(ticks(leases, 60_250, 62_000)), []);
  assert.equal(short(ticks(leases, 62_250, 63_250)), ["memory-1 suspect", "memory-1 dead"]);
});

test("if all seem to hang, one dies per lease time, for it may be the machine", () => {
  const leases = new Leases(TICK);
  for (const instance of ["auth-1", "memory-1", "model-1"]) leases.open(instance, 1, 0);
  assert.equal(short(ticks(leases, 0, 3_000)).slice(3), ["auth-1 dead"]);
  assert.equal(short(ticks(leases, 3_250, 5_750)), []);
  leases.beat("memory-1", 1, {}, 5_800);
  assert.equal(short(ticks(leases, 6_000, 6_000)), ["model-1 dead"]);
});

test("a handler that outlives its request by half a minute is a hang, whatever the beats say", () => {
  const leases = new Leases(TICK);
  leases.open("device-1", 1, 0);
  leases.tick(0, true);
  for (let at = 1_000; at <= 29_000; at += 1_000) leases.beat("device-1", 1, { overdueMs: at }, at);
  assert.equal(short(leases.tick(29_250, true)), []);
  leases.beat("device-1", 1, { overdueMs: 30_000 }, 30_000);
  const verdicts = leases.tick(30_250, true);
  assert.equal(short(verdicts), ["device-1 suspect", "device-1 dead"]);
  assert.match((verdicts[1] as { reason: string }).reason, "past its end");
});

test("a closed lease is watched no more", () => {
  const leases = new Leases(TICK);
  leases.open("memory-1", 1, 0);
  leases.close("memory-1");
  assert.equal(ticks(leases, 0, 10_000), []);
});

test("a beat that is garbage is none, whoever sends it", () => {
  const bodies = [Uint8Array.of(0xc1), Uint8Array.of(0x81), new Uint8Array(0), encode(null), encode([1]), encode("x")];
  for (const body of bodies) assert.is(readBeat(body), undefined, Buffer.from(body).toString("hex"));
  assert.is(readBeat(encode({ overdueMs: "long" })), undefined);
  assert.equal(readBeat(encode({ overdueMs: 3, inflight: 1 })), { overdueMs: 3, inflight: 1 });
});

test.run();
