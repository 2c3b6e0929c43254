import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode } from "../../kernel/abi/codec.ts";
import type { SomaError } from "../../kernel/abi/errors.ts";
import type { Down } from "../../kernel/announce.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, CRASHING, STANDIN, System, until } from "../helpers/system.ts";

let system: System;
let client: Client;
const downs: { subject: string; body: Down; at: number }[] = [];

test.before(async () => {
  system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
    // A period longer than the test: probes and decay have tests of their own.
    { service: "device", entry: CRASHING, intensity: 2, period: 600_000, probe: 600_000 },
    { service: "scheduler", entry: STANDIN, startTimeout: 10_000, nice: 7 },
  ]);
  client = await system.up(["auth-1", "memory-1", "scheduler-1"]);
  client.bus.subscribe("evt.kernel.down.>", ({ subject, data }) => {
    downs.push({ subject, body: decode(data) as Down, at: performance.now() });
  });
  await client.bus.flush();
});
test.after(() => system.stop());

const memory = (state: string, epoch?: number) =>
  system.state(client, "memory-1", state, (row) => epoch === undefined || row.epoch === epoch);
const failure = (promise: Promise<unknown>): Promise<SomaError> =>
  promise.then(
    () => assert.unreachable("it succeeded") as never,
    (error) => error as SomaError,
  );

test("a crash is told to whoever waits at once, and a successor with the next epoch serves", async () => {
  const { pid, epoch } = await memory("ready");
  const stream = client.stream("memory.get", { key: "hang" }, { ttl: 20_000 });
  const pending = failure(stream.result);
  await stream.accepted;
  process.kill(pid!, "SIGKILL");
  const error = await pending;
  assert.equal([error.code, error.executed], ["ESERVICEDOWN", "maybe"]);
  assert.is(downs.at(-1)!.subject, `evt.kernel.down.memory.memory-1.${epoch}`);
  assert.equal([downs.at(-1)!.body.code, downs.at(-1)!.body.signal], [null, "SIGKILL"]);
  await memory("ready", epoch + 1);
  const { value } = await client.call("memory.get", { key: "x" });
  assert.equal((value as { epoch: number }).epoch, epoch + 1);
});

test("one that ends with a code is told with that code and its last words", async () => {
  const { epoch } = await memory("ready");
  const error = await failure(client.call("memory.get", { key: "die7" }, { retry: false }));
  assert.is(error.code, "ESERVICEDOWN");
  assert.is(downs.at(-1)!.body.code, 7);
  assert.match(downs.at(-1)!.body.reason, "code 7");
  assert.ok(downs.at(-1)!.body.lines.some((line) => line.includes("ready")));
  await memory("ready", epoch + 1);
});

test("one that is stopped by a signal is suspect, then killed and replaced", async () => {
  const { pid, epoch } = await memory("ready");
  process.kill(pid!, "SIGSTOP");
  await memory("suspect");
  const { epoch: next, pid: successor } = await memory("ready", epoch + 1);
  assert.equal([next, successor === pid], [epoch + 1, false]);
  assert.match(downs.at(-1)!.body.reason, "no heartbeat");
});

test("one whose event loop spins is replaced, too, and its caller hears", async () => {
  const { epoch } = await memory("ready");
  const error = await failure(client.call("memory.get", { key: "spin" }, { ttl: 20_000, retry: false }));
  assert.is(error.code, "ESERVICEDOWN");
  await memory("ready", epoch + 1);
});

test("a crash loop is quarantined, told with its last words, and others serve; its calls fail at once", async () => {
  const row = await system.state(client, "device-1", "quarantined");
  assert.equal([row.restarts, row.pid, row.note], [2, undefined, "crashing: no reason at all"]);
  assert.match((await client.call("memory.get", { key: "x" })).revision.toString(), "1");
  const error = await failure(client.call("device.stat", {}, { retry: false }));
  assert.equal([error.code, error.executed], ["ESERVICEDOWN", "no"]);
  const restart = await failure(client.call("kernel.restart", { service: "device" }));
  assert.is(restart.code, "ESERVICEDOWN");
  assert.match(restart.message, "crashing: no reason at all");
});

test("a person's signals reach services, and unknown ids are refused", async () => {
  const { epoch, pid } = await memory("ready");
  assert.equal(await client.call("kernel.kill", { id: "memory-1" }), { id: "memory-1", pid });
  await memory("ready", epoch + 1);
  assert.is(downs.at(-1)!.body.code, 0, "it drained");
  assert.is((await failure(client.call("kernel.kill", { id: "nobody-1" }))).code, "ENOENT");
  assert.is((await failure(client.call("kernel.kill", { id: "launcher" }))).code, "EINVAL");
});

test("a broker that is killed comes back, and nothing else is restarted", async () => {
  const before = await memory("ready");
  await client.call("kernel.kill", { id: "broker", signal: "SIGKILL" });
  await until("the connection is lost", () => !client.bus.connected);
  const after = await system.state(client, "memory-1", "ready");
  assert.equal([after.pid, after.epoch], [before.pid, before.epoch]);
  await client.call("memory.get", { key: "x" });
});

test.run();
