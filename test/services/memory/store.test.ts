// What apps remember, over the bus and with the real store: namespaces, quotas, blobs, and what a crash leaves.
import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { appPermissions, servicePermissions } from "../../../kernel/abi/rights.ts";
import { allSyscalls } from "../../../kernel/abi/syscalls.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { Objects } from "../../../kernel/ipc/objects.ts";
import { Kv } from "../../../kernel/ipc/store.ts";
import { type BlobRecord, Blobs } from "../../../services/memory/blobs.ts";
import { calls } from "../../../services/memory/calls.ts";
import type { RowsRecord } from "../../../services/memory/rows/log.ts";
import { Rows } from "../../../services/memory/rows/rows.ts";
import { Values } from "../../../services/memory/values.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let kv: Kv;
let objects: Objects;
let values: Values;
let blobs: Blobs;
let rows: Rows;
let starts = 0;

const QUOTA = 1_000_000;
const APP_CALLS = allSyscalls().flatMap(([owner, call, { right }]) =>
  owner === "memory" && right === "app" ? [`memory.${call}`] : [],
);

async function open() {
  values = await Values.open(kv, { bytes: 10_000, keys: 5 });
  rows = await Rows.open(kv as Kv<RowsRecord>, objects, { prefix: `rows-t${starts}` });
  const others = rows.known();
  blobs = await Blobs.open(kv as Kv<BlobRecord>, objects, { prefix: `t${starts++}`, quota: () => QUOTA, others });
}

async function app(name: string): Promise<Client> {
  return new Client(await world.connect(name, appPermissions(name, APP_CALLS)));
}

async function refusal(promise: Promise<unknown>): Promise<SomaError> {
  return promise.then(
    () => assert.unreachable("it was not refused"),
    (error) => error,
  );
}

async function* pieces(bytes: Uint8Array, size = 64 * 1024) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function write(client: Client, bytes: Uint8Array, size?: number): Promise<string> {
  const stream = client.stream("memory.write", size === undefined ? {} : { size });
  const upload = stream.upload(pieces(bytes)).catch(() => {});
  const { blob } = await stream.result;
  await upload;
  return blob;
}

async function read(client: Client, blob: string): Promise<Buffer> {
  const got: Uint8Array[] = [];
  for await (const { data } of client.stream("memory.read", { blob })) got.push(data);
  return Buffer.concat(got);
}

const blobOf = (bytes: Uint8Array) => `blob:${createHash("sha256").update(bytes).digest("hex")}`;

test.before(async () => {
  world = await startWorld({ stores: true });
  const bus = await world.connect("memory-2", servicePermissions("memory", "memory-2", 1));
  kv = await Kv.open(bus, "data");
  objects = await Objects.open(bus, "blobs");
  await open();
  const never = { send: () => assert.unreachable(), getSnapshot: () => assert.unreachable() };
  // Through a function, since a test opens them anew.
  const handler = (name: string) => (input: never, request: never) =>
    (
      calls(never as never, values, blobs, rows) as unknown as Record<string, (input: never, request: never) => unknown>
    )[name]!(input, request);
  const names = Object.keys(calls(never as never, values, blobs, rows));
  await world.serve("memory", Object.fromEntries(names.map((name) => [name, handler(name)])));
});
test.after(() => world.stop());

test("an app remembers under its own name, others cannot see it, and the person may", async () => {
  const [tin, tom] = [await app("tin"), await app("tom")];
  const person = await world.client("person");
  const { revision } = await tin.call("memory.put", { key: "a.b", value: { n: 1, list: [null, "文"] } });
  assert.equal(await tin.call("memory.get", { key: "a.b" }), { value: { n: 1, list: [null, "文"] }, revision });
  assert.is((await refusal(tom.call("memory.get", { key: "a.b" }))).code, "ENOENT");
  const denied = await refusal(tom.call("memory.get", { key: "a.b", namespace: "tin" }));
  assert.is(denied.code, "EPERM");
  assert.match(denied.message, 'leave "namespace" out');
  assert.is((await person.call("memory.get", { key: "a.b", namespace: "tin" })).revision, revision);
  await tin.call("memory.put", { key: "a.c", value: 2 });
  await tin.call("memory.put", { key: "z", value: 3 });
  assert.equal((await tin.call("memory.keys", { prefix: "a." })).keys, ["a.b", "a.c"]);
  await tin.call("memory.del", { key: "a.b" });
  await tin.call("memory.del", { key: "a.b" });
  assert.equal((await tin.call("memory.keys", {})).keys, ["a.c", "z"]);
});

test("of two that put with the same revision one wins, and the other learns of it at once", async () => {
  const tin = await app("pair");
  const { revision } = await tin.call("memory.put", { key: "count", value: 0, revision: 0 });
  const both = await Promise.allSettled(
    [1, 2].map((value) => tin.call("memory.put", { key: "count", value, revision })),
  );
  assert.equal(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const lost = both.find(({ status }) => status === "rejected") as PromiseRejectedResult;
  assert.is(lost.reason.code, "EAGAIN");
  assert.not(lost.reason.retryable);
  assert.match(lost.reason.message, "get it again");
});

test("a namespace has a quota of bytes and of keys, which deleting frees, and which a restart remembers", async () => {
  const full = await app("full");
  const error = await refusal(full.call("memory.put", { key: "big", value: "x".repeat(10_001) }));
  assert.is(error.code, "EDQUOT");
  assert.match(error.message, "memory.del");
  for (let i = 0; i < 5; i++) await full.call("memory.put", { key: `k${i}`, value: "x".repeat(1000) });
  assert.match((await refusal(full.call("memory.put", { key: "k5", value: 1 }))).message, "5 values");
  await open();
  assert.equal(values.usage().get("full"), { keys: 5, bytes: 5 * 1003 });
  assert.is((await refusal(full.call("memory.put", { key: "k5", value: 1 }))).code, "EDQUOT");
  await full.call("memory.put", { key: "k0", value: "x".repeat(5000) });
  assert.is((await refusal(full.call("memory.put", { key: "k1", value: "x".repeat(3000) }))).code, "EDQUOT");
  await full.call("memory.del", { key: "k0" });
  await full.call("memory.put", { key: "k5", value: 1 });
});

test("a blob comes back byte for byte under the hash of its content", async () => {
  const tin = await app("large");
  for (const size of [0, 1, 64 * 1024, 600_001]) {
    const bytes = randomBytes(size);
    const blob = await write(tin, bytes, size);
    assert.is(blob, blobOf(bytes));
    assert.ok(bytes.equals(await read(tin, blob)));
    await tin.call("memory.drop", { blob });
  }
});

test("only a holder, or whom it lets, may read; the bytes stay as long as one holds them, and are stored once", async () => {
  const [ann, bob, cid] = [await app("ann"), await app("bob"), await app("cid")];
  const bytes = randomBytes(100_000);
  const before = (await objects.ids()).length;
  const blob = await write(ann, bytes);
  const denied = await refusal(read(bob, blob));
  assert.is(denied.code, "EPERM");
  assert.match(denied.message, "memory.share");
  assert.is((await refusal(bob.call("memory.share", { blob, reader: "cid" }))).code, "EPERM");
  await ann.call("memory.share", { blob, reader: "bob" });
  await ann.call("memory.share", { blob, reader: "bob" });
  assert.ok(bytes.equals(await read(bob, blob)));
  assert.is(await write(bob, bytes), blob);
  assert.is((await objects.ids()).length, before + 1);
  await ann.call("memory.drop", { blob });
  assert.is((await refusal(read(ann, blob))).code, "EPERM");
  assert.ok(bytes.equals(await read(bob, blob)));
  assert.is((await refusal(read(cid, blob))).code, "EPERM");
  await bob.call("memory.drop", { blob });
  await bob.call("memory.drop", { blob });
  assert.is((await refusal(read(bob, blob))).code, "ENOENT");
  assert.is((await objects.ids()).length, before);
});

test("a service that works for an app reads what the app may read, or what services hold, and nothing else", async () => {
  const model = await world.client("model-1");
  const tin = await app("worker");
  const theirs = await write(await app("stranger"), randomBytes(10));
  const mine = await write(tin, randomBytes(10));
  const served = await write(model, randomBytes(10));
  const as = async (blob: string, principal?: string) => {
    const stream = model.stream("memory.read", { blob }, principal === undefined ? {} : { for: { principal } });
    for await (const _ of stream);
    return (await stream.result).size;
  };
  assert.is(await as(mine, "worker"), 10);
  assert.is(await as(served, "worker"), 10);
  assert.is(await as(theirs), 10);
  assert.is((await refusal(as(theirs, "worker"))).code, "EPERM");
  assert.is((await refusal(read(tin, served))).code, "EPERM");
});

test("a broken upload, one of a wrong size, and one over the quota leave nothing behind", async () => {
  const tin = await app("broken");
  const before = await objects.ids();
  const bytes = randomBytes(300_000);
  const short = await refusal(write(tin, bytes, 1));
  assert.is(short.code, "EINVAL");
  const quota = await refusal(write(tin, randomBytes(QUOTA + 1)));
  assert.is(quota.code, "EDQUOT");
  assert.match(quota.message, "memory.drop");
  const stream = tin.stream("memory.write", {});
  await stream.accepted;
  await tin.call("memory.chunk" as never, { id: stream.id, seq: 0, data: bytes.subarray(0, 64 * 1024) } as never);
  stream.cancel();
  assert.is((await refusal(stream.result)).code, "ECANCELED");
  const wrong = tin.stream("memory.write", {});
  await wrong.accepted;
  await tin.call("memory.chunk" as never, { id: wrong.id, seq: 0, data: "text" } as never);
  assert.is((await refusal(wrong.result)).code, "EINVAL");
  while ((await objects.ids()).length > before.length) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.is(blobs.usage().get("broken"), undefined, "nothing of it counts any more");
});

test("two uploads at once cannot hold more together than one may", async () => {
  const tin = await app("twins");
  const results = await Promise.allSettled([1, 2].map(() => write(tin, randomBytes(0.6 * QUOTA))));
  const stored = results.filter(({ status }) => status === "fulfilled").length;
  assert.ok(stored <= 1, "never both; neither when they met halfway");
  assert.is(blobs.usage().get("twins") ?? 0, stored * 0.6 * QUOTA);
  await write(tin, randomBytes(0.4 * QUOTA));
});

test("the next start removes what a crash left half-written, and keeps what was recorded", async () => {
  const tin = await app("crash");
  const bytes = randomBytes(200_000);
  const blob = await write(tin, bytes);
  await objects.put("orphan-1", pieces(randomBytes(300_000)));
  const before = blobs.usage().get("crash");
  await open();
  assert.not((await objects.ids()).includes("orphan-1"));
  assert.is(blobs.usage().get("crash"), before);
  assert.ok(bytes.equals(await read(tin, blob)));
});

test("wiping a namespace takes its values and its holds, and nothing of others", async () => {
  const [gone, stays] = [await app("gone"), await app("stays")];
  const auth = await world.client("auth-1");
  const bytes = randomBytes(1000);
  const blob = await write(gone, bytes);
  await write(stays, bytes);
  await gone.call("memory.put", { key: "a", value: 1 });
  await stays.call("memory.put", { key: "a", value: 1 });
  for (const app of [gone, stays]) await app.call("memory.index", { rows: [{ id: "1", text: "a cat" }] });
  assert.is((await refusal(gone.call("memory.wipe" as never, { namespace: "stays" } as never))).code, "EPERM");
  assert.is((await auth.call("memory.wipe", { namespace: "gone" })).deleted, 3);
  assert.is((await auth.call("memory.wipe", { namespace: "gone" })).deleted, 0);
  assert.ok(bytes.equals(await read(stays, blob)));
  const { namespaces } = await (await world.client("person")).call("memory.namespaces", {});
  assert.equal(
    namespaces.find(({ namespace }) => namespace === "gone"),
    undefined,
  );
  assert.equal(
    namespaces.find(({ namespace }) => namespace === "stays"),
    { namespace: "stays", keys: 1, rows: 1, bytes: 1001 + rows.usage().get("stays")!.bytes },
  );
});

test("an app searches its own collections, others cannot see them, and the person may", async () => {
  const [tin, tom] = [await app("tin"), await app("tom")];
  const person = await world.client("person");
  const pets = [
    { id: "cat", text: "the cat sleeps", vector: [1, 0], meta: { legs: 4 } },
    { id: "hen", vector: new Uint8Array(Float32Array.of(3, 4).buffer) },
  ];
  const { bytes } = await tin.call("memory.index", { collection: "pets", rows: pets });
  await tom.call("memory.index", { collection: "pets", rows: [{ id: "dog", text: "the dog" }] });
  const { hits } = await tin.call("memory.search", { collection: "pets", vector: [2, 0] });
  assert.equal(
    hits.map(({ id, score }) => [id, score.toFixed(6)]),
    [
      ["cat", "1.000000"],
      ["hen", "0.600000"],
    ],
  );
  assert.equal(hits[0], { id: "cat", score: 1, cosine: 1, text: "the cat sleeps", meta: { legs: 4 } });
  assert.equal(
    (await tom.call("memory.search", { collection: "pets", text: "the" })).hits.map(({ id }) => id),
    ["dog"],
  );
  for (const input of [
    { namespace: "tin", text: "cat" },
    { namespace: "tin", collection: "pets", text: "cat" },
  ])
    assert.is((await refusal(tom.call("memory.search", input))).code, "EPERM");
  const theirs = { collection: "pets", namespace: "tin" };
  assert.is((await refusal(tom.call("memory.index", { ...theirs, rows: pets }))).code, "EPERM");
  assert.is((await refusal(tom.call("memory.unindex", theirs))).code, "EPERM");
  assert.is((await refusal(tom.call("memory.collections", { namespace: "tin" }))).code, "EPERM");
  assert.equal(await person.call("memory.collections", { namespace: "tin" }), {
    collections: [{ collection: "pets", rows: 2, dims: 2, bytes }],
  });
  assert.is((await person.call("memory.search", { ...theirs, text: "cat" })).hits.length, 1);
  assert.is((await tin.call("memory.unindex", { collection: "pets" })).deleted, 2);
  assert.is((await refusal(tin.call("memory.search", { collection: "pets", text: "cat" }))).code, "ENOENT");
  await tom.call("memory.unindex", { collection: "pets" });
});

test("what is wrong with rows or a question is said, and how to do better", async () => {
  const tin = await app("wrong");
  const index = (row: object) => refusal(tin.call("memory.index", { rows: [{ id: "a", ...row }] }));
  assert.match((await index({})).message, "a text, a vector or both");
  assert.match((await index({ vector: [0, 0] })).message, "without direction");
  const strange = new Uint8Array(Float32Array.of(1, Number.NaN).buffer);
  assert.match((await index({ vector: strange })).message, "without direction");
  assert.match((await index({ vector: new Uint8Array(5) })).message, "float32");
  const many = Array.from({ length: 30 }, (_, i) => ({ id: `r${i}`, text: `word ${"x ".repeat(16_000)}` }));
  const large = await refusal(tin.call("memory.index", { rows: many }));
  assert.is(large.code, "E2BIG");
  assert.match(large.message, "several calls");
  for (const row of many) await tin.call("memory.index", { rows: [row] });
  await tin.call("memory.index", { rows: [{ id: "v", vector: [1, 2, 3] }] });
  assert.match((await index({ vector: [1, 2] })).message, "2 numbers, the rows of the collection one of 3");
  assert.match(
    (await refusal(tin.call("memory.search", { vector: [1] }))).message,
    "the rows of the collection one of 3",
  );
  const answer = await refusal(tin.call("memory.search", { text: "word", limit: 30 }));
  assert.is(answer.code, "E2BIG");
  assert.match(answer.message, '"limit"');
  assert.is((await tin.call("memory.search", { text: "word", limit: 3 })).hits.length, 3);
  await tin.call("memory.unindex", {});
});

test("whatever is written, shared, dropped and restarted, holders and bytes are what a plain model says", async () => {
  const names = ["p1", "p2", "p3"];
  const contents = [0, 1, 2].map((i) => randomBytes(10 + i));
  const operation = fc.record({
    op: fc.constantFrom("write", "write", "drop", "restart"),
    who: fc.integer({ min: 0, max: 2 }),
    what: fc.integer({ min: 0, max: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      const holds = new Set<string>();
      for (const { op, who, what } of operations) {
        const key = `${names[who]}/${what}`;
        if (op === "restart") await open();
        if (op === "write") await blobs.write(names[who]!, pieces(contents[what]!)).then(() => holds.add(key));
        if (op === "drop") assert.is(await blobs.drop(names[who]!, blobOf(contents[what]!)), holds.delete(key));
      }
      for (const [who, name] of names.entries()) {
        const bytes = contents.reduce(
          (sum, { length }, what) => sum + (holds.has(`${names[who]}/${what}`) ? length : 0),
          0,
        );
        assert.is(blobs.usage().get(name) ?? 0, bytes);
      }
      for (const name of names) await blobs.wipe(name);
    }),
    { numRuns: 25 },
  );
});

test("once all is wiped no object is left", async () => {
  for (const [holder] of [...blobs.usage()]) await blobs.wipe(holder);
  for (const [namespace] of rows.usage()) await rows.wipe(namespace);
  assert.equal(await objects.ids(), []);
  assert.is(blobs.size, 0);
});

test.run();
