import { setMaxListeners } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../../kernel/abi/codec.ts";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { appPermissions, personPermissions } from "../../../kernel/abi/rights.ts";
import { subjects } from "../../../kernel/abi/subjects.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import { DEFER } from "../../../kernel/ipc/server.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let app: Client;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const code = async (promise: Promise<unknown>): Promise<SomaError> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SomaError) return error;
    throw error;
  }
  throw new Error("it succeeded");
};
let slow: { aborted: boolean }[] = [];
let deferred: string[] = [];

test.before(async () => {
  world = await startWorld();
  const { server } = await world.serve(
    "memory",
    {
      get: async ({ key }, request) => {
        if (key === "missing") throw new SomaError("ENOENT", "not there");
        if (key === "slow") {
          const seen = { aborted: false };
          slow.push(seen);
          await new Promise<void>((resolve) => request.signal.addEventListener("abort", () => resolve()));
          seen.aborted = true;
          throw new SomaError("ECANCELED", "stopped");
        }
        return { value: { key, caller: request.caller, principal: request.principal }, revision: 1 };
      },
      put: (_input, request) => {
        deferred.push(request.mid);
        return DEFER;
      },
      keys: ({ prefix }) => ({ keys: [prefix] }),
      read: async (_input, request) => {
        for (let i = 0; i < 500; i++) await request.emit({ data: new Uint8Array([i & 255]) });
        return { size: 500 };
      },
      write: async (_input, request) => {
        let size = 0;
        for await (const piece of request.received()) size += (piece as Uint8Array).length;
        return { blob: `blob:${"0".repeat(64)}`, size };
      },
    },
    { mailbox: 40 },
  );
  void server;
  app = await world.client(
    "alice",
    appPermissions("alice", ["memory.get", "memory.put", "memory.keys", "memory.read", "memory.write"]),
  );
});
test.after(() => world.stop());

test("a call is answered, and the service knows its caller from the subject", async () => {
  const { value } = await app.call("memory.get", { key: "a" });
  assert.equal(value, { key: "a", caller: "alice", principal: { principal: "alice" } });
});

test("a refusal keeps its code and its message", async () => {
  const error = await code(app.call("memory.get", { key: "missing" }));
  assert.is(error.code, "ENOENT");
  assert.is(error.message, "not there");
});

test("input of a wrong shape is EINVAL and names the field", async () => {
  const error = await code(app.call("memory.get", { key: "..*" }));
  assert.is(error.code, "EINVAL");
  assert.match(error.message, /key/);
});

test("a body that is no MessagePack is EINVAL, an unknown call ENOSYS, an oversized body E2BIG", async () => {
  const raw = await world.client("person", { ...personPermissions("person"), pub: ["sys.person.>"] });
  const send = (call: string, data: Uint8Array) =>
    new Promise<string>((resolve) => {
      const inbox = `${subjects.inbox("person")}.x${Math.random().toString(36).slice(2)}`;
      raw.bus.subscribe(inbox, (message) =>
        resolve(
          (message.header("type") === "error" ? message.data : new Uint8Array()).length > 0
            ? new TextDecoder().decode(message.data)
            : "ok",
        ),
      );
      raw.bus.publish(subjects.call("person", "memory", "any", call), data, { id: "q1" }, inbox);
    });
  assert.match(await send("get", new Uint8Array([0xc1, 0xff])), /EINVAL/);
  assert.match(await send("get", new Uint8Array(600 * 1024)), /E2BIG/);
  assert.match(await send("nonsense", new Uint8Array()), /ENOSYS/);
  assert.is((await code(app.call("memory.nonsense" as "memory.get", { key: "a" }))).code, "ENOSYS");
  assert.is((await code(app.call("memory.put", { key: "a", value: "x".repeat(600_000) }))).code, "E2BIG");
});

test("the broker's denial becomes EPERM at once and names the fix", async () => {
  const started = performance.now();
  const error = await code(app.call("memory.del", { key: "a" }));
  assert.is(error.code, "EPERM");
  assert.match(error.message, /soma app grant alice --call memory.del/);
  assert.ok(performance.now() - started < 2_000);
});

test("nobody listening is ESERVICEDOWN and surely not executed", async () => {
  const carol = await world.client("carol");
  const error = await code(carol.call("model.list", {}, { retry: false }));
  assert.is(error.code, "ESERVICEDOWN");
  assert.is(error.executed, "no");
});

test("a deadline ends the call at the caller and aborts the work at the service", async () => {
  slow = [];
  const started = performance.now();
  const error = await code(app.call("memory.get", { key: "slow" }, { ttl: 200 }));
  assert.is(error.code, "ETIME");
  assert.ok(performance.now() - started < 2_000);
  await sleep(50);
  assert.is(slow[0]?.aborted, true);
});

test("cancel reaches the handler and is answered ECANCELED", async () => {
  slow = [];
  const abort = new AbortController();
  const call = code(app.call("memory.get", { key: "slow" }, { signal: abort.signal }));
  await sleep(50);
  abort.abort();
  assert.is((await call).code, "ECANCELED");
  assert.is(slow[0]?.aborted, true);
});

test("a stream keeps its order and never has more than its window unread", async () => {
  const stream = app.stream("memory.read", { blob: `blob:${"0".repeat(64)}` });
  let count = 0;
  for await (const { data } of stream) {
    assert.is(data[0], count & 255);
    count += 1;
    if (count % 100 === 0) await sleep(5);
  }
  assert.is(count, 500);
  assert.equal(await stream.result, { size: 500 });
});

test("an upload arrives whole and in order", async () => {
  const stream = app.stream("memory.write", {});
  await stream.upload(Array.from({ length: 50 }, () => new Uint8Array(1000)));
  assert.is((await stream.result).size, 50_000);
});

test("DOWN fails what the instance had accepted, at once, as maybe executed", async () => {
  deferred = [];
  const call = code(app.call("memory.put", { key: "a", value: 1 }, { retry: false }));
  while (deferred.length === 0) await sleep(5);
  const kernel = await world.connect("kernel");
  const started = performance.now();
  // Of a former epoch: nothing to do with this one.
  kernel.publish(subjects.down("memory", "memory-1", 0), encode({ reason: "exit" }));
  await sleep(50);
  kernel.publish(subjects.down("memory", "memory-1", 1), encode({ reason: "exit" }));
  const error = await call;
  assert.is(error.code, "ESERVICEDOWN");
  assert.is(error.executed, "maybe");
  assert.ok(performance.now() - started < 2_000);
});

test("DOWN of one instance leaves alone what was sent to another one and is not accepted yet", async () => {
  const frank = await world.client("frank");
  // Listens as memory-2 does, and takes its time to say anything.
  const second = await world.connect("memory-2");
  let reply = "";
  second.subscribe(subjects.serve("memory", "memory-2"), (message) => {
    reply = message.reply;
  });
  await second.flush();
  const call = frank.call("memory.get", { key: "a" }, { instance: "memory-2", retry: false });
  while (reply === "") await sleep(5);
  const kernel = await world.connect("kernel");
  kernel.publish(subjects.down("memory", "memory-3", 1), encode({ reason: "exit" }));
  await kernel.flush();
  second.publish(reply, encode({ value: 2, revision: 1 }), { type: "end", epoch: "1" });
  assert.is((await call).value, 2);

  const lost = code(frank.call("memory.get", { key: "a" }, { instance: "memory-2", retry: false }));
  await sleep(20);
  kernel.publish(subjects.down("memory", "memory-2", 1), encode({ reason: "exit" }));
  assert.is((await lost).code, "ESERVICEDOWN");
});

test("a reply aimed at another subject is not given", async () => {
  const stolen: string[] = [];
  const victim = await world.connect("dave");
  victim.subscribe("victim.>", (message) => stolen.push(message.subject));
  await victim.flush();
  app.bus.publish(
    subjects.call("alice", "memory", "any", "keys"),
    encode({ prefix: "x" }),
    { id: "r1" },
    "victim.control",
  );
  app.bus.publish(
    subjects.call("alice", "memory", "any", "keys"),
    encode({ prefix: "x" }),
    { id: "r2" },
    "_INBOX.dave.1",
  );
  await app.call("memory.keys", { prefix: "y" });
  await sleep(20);
  assert.equal(stolen, []);
});

test("an app that claims to act for another is refused", async () => {
  assert.is((await code(app.call("memory.get", { key: "a" }, { for: { principal: "bob" } }))).code, "EPERM");
});

test("a full mailbox says EBUSY and when to come back", async () => {
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  slow = [];
  const held = Array.from({ length: 40 }, () =>
    code(app.call("memory.get", { key: "slow" }, { signal: abort.signal })),
  );
  while (slow.length < 39) await sleep(5);
  await sleep(50);
  const error = await code(app.call("memory.keys", { prefix: "" }, { retry: false }));
  assert.is(error.code, "EBUSY");
  assert.ok(error.retryAfterMs! > 0);
  abort.abort();
  await Promise.all(held);
});

test("a throw without a code is reported as our bug and not swallowed", async () => {
  const crashes: [error: unknown, call?: string, caller?: string][] = [];
  await world.serve(
    "model",
    {
      list: () => {
        throw new TypeError("bug");
      },
    },
    { number: 7, crash: (error, request) => void crashes.push([error, request?.call, request?.caller]) },
  );
  const erin = await world.client("erin");
  void code(erin.call("model.list", {}, { instance: "model-7", ttl: 300 }));
  while (crashes.length === 0) await sleep(5);
  const [error, ...about] = crashes[0]!;
  assert.instance(error, TypeError);
  assert.equal(about, ["list", "erin"]);
});

test("calls while the broker is away fail at once, those in flight as maybe, and all works again after", async () => {
  slow = [];
  const inflight = code(app.call("memory.get", { key: "slow" }, { retry: false }));
  while (slow.length === 0) await sleep(5);
  const restarted = world.restartBroker(300);
  const lost = await inflight;
  assert.is(lost.code, "EIO");
  assert.is(lost.executed, "maybe");
  const away = await code(app.call("memory.get", { key: "a" }));
  assert.is(away.code, "EIO");
  assert.is(away.executed, "no");
  await restarted;
  while (!app.bus.connected) await sleep(10);
  assert.is(((await app.call("memory.get", { key: "b" }, { ttl: 5_000 })).value as { key: string }).key, "b");
});

test.run();
