// The audit on a real broker: whoever may do anything there still cannot change it without being found out.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { subjects } from "../../kernel/abi/subjects.ts";
import { ask } from "../../kernel/ipc/ask.ts";
import { Audit } from "../../kernel/ipc/audit.ts";
import type { NatsBus } from "../../kernel/ipc/bus.ts";
import { type Batch, genesis, readBatch, seal, unpack } from "../../kernel/ipc/chain.ts";
import { type HeadRecord, readHead, signHead } from "../../kernel/ipc/heads.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { append, Kv, readStream, type StreamEntry } from "../../kernel/ipc/store.ts";
import { verifyAudit } from "../../kernel/verify.ts";
import { Heads } from "../../services/auth/heads.ts";
import { startWorld, type World } from "../helpers/world.ts";

const FIRST = subjects.audit("memory-1", 1);
const SECOND = subjects.audit("memory-1", 2);
const key = createKey("account");
let world: World;
let bus: NatsBus;
let kv: Kv<HeadRecord>;
let warned: string[] = [];

test.before(async () => {
  world = await startWorld({ stores: true });
  bus = await world.connect("kernel");
  kv = await Kv.open<HeadRecord>(bus, "heads");
});
test.after(() => world.stop());

const signer = () =>
  Heads.open({
    ...{ kv, key, read: (after: number) => readStream(bus, "audit", { after }) },
    warn: (chain, faults) => warned.push(`${chain} ${faults.map(({ what }) => what)}`),
  });
const purge = () => ask(bus, "$JS.API.STREAM.PURGE.AUDIT", new Uint8Array(0));

/** One epoch that ended in order and one that runs, 3 messages and 9 records each but for the end; signed by auth. */
async function fresh(): Promise<void> {
  await purge();
  for (const { key: chain } of await kv.entries()) await kv.del(chain);
  warned = [];
  for (const epoch of [1, 2]) await run(epoch, epoch === 1);
  await (await signer()).round();
}

async function run(epoch: number, ends: boolean): Promise<Audit> {
  const subject = subjects.audit("memory-1", epoch);
  const audit = new Audit({
    ...{ instance: "memory-1", epoch },
    store: async (batch, id) => void (await append(bus, subject, batch, `${id}-${Math.random()}`)),
  });
  const call = (id: string) => ({ caller: "alice", principal: { principal: "alice" }, id });
  for (let i = 0; i < 3; i++) {
    audit.outcome(call(`a${i}`), "memory.put", "OK", 1);
    audit.outcome(call(`b${i}`), "memory.put", "EPERM", 2);
    await audit.stored(call(`c${i}`), "memory.put", "OK", 3);
  }
  if (ends) await audit.close(1_000);
  return audit;
}

async function entries(): Promise<(StreamEntry & { value: Batch })[]> {
  const all: (StreamEntry & { value: Batch })[] = [];
  for await (const entry of readStream(bus, "audit", {})) all.push({ ...entry, value: readBatch(entry.value)! });
  return all;
}

/** Replaces the whole stream, as one who owns the broker's disk can. */
async function rewrite(edit: (list: { subject: string; value: unknown }[]) => void): Promise<void> {
  const list: { subject: string; value: unknown }[] = await entries();
  edit(list);
  await purge();
  for (const { subject, value } of list) await append(bus, subject, value);
}

const batchOf = (list: { subject: string; value: unknown }[], subject: string, n: number) =>
  list.filter((entry) => entry.subject === subject)[n]!.value as Batch;

/** What is found of both chains: `<epoch> <what> <first>-<last>`. */
async function found(now = Date.now()): Promise<string[]> {
  const { chains, totals } = await verifyAudit({
    ...{ bus, key: key.publicKey, now: () => now },
    runs: (actor, epoch) => actor === "memory-1" && epoch === 2,
  });
  const list = chains.flatMap(({ epoch, findings }) =>
    findings.map(({ what, first, last }) => `${epoch} ${what} ${first}-${last}`),
  );
  assert.is(totals.faults, list.filter((text) => !/ (gap|expired|lost) /.test(text)).length);
  return list;
}

async function remove(subject: string, n: number): Promise<void> {
  const { seq } = (await entries()).filter((entry) => entry.subject === subject)[n]!;
  await ask(bus, "$JS.API.STREAM.MSG.DELETE.AUDIT", Buffer.from(JSON.stringify({ seq })));
}

test("an untouched audit has no fault, and says how each epoch stands", async () => {
  await fresh();
  const { chains, totals } = await verifyAudit({ bus, key: key.publicKey, runs: (_, epoch) => epoch === 2 });
  assert.equal(
    chains.map(({ epoch, records, last, signed, state, findings }) => [epoch, records, last, signed, state, findings]),
    [
      [1, 11, 11, 11, "closed", []],
      [2, 10, 10, 10, "running", []],
    ],
  );
  assert.equal(totals, { chains: 2, records: 21, faults: 0 });
});

test("an epoch that ended without its closing record is a gap", async () => {
  await fresh();
  await run(3, false);
  await (await signer()).round();
  assert.equal(await found(), ["3 gap 10-10"]);
});

const TAMPERING: [string, () => Promise<void>, RegExp[]][] = [
  ["a changed record", () => rewrite((list) => (batchOf(list, FIRST, 1).rows[1]![20]! ^= 1)), [/^1 changed 6-6$/]],
  [
    "a changed record, all hashes after it made to fit",
    () =>
      rewrite((list) => {
        let head = genesis(FIRST);
        for (const entry of list.filter(({ subject }) => subject === FIRST)) {
          const rows = (entry.value as Batch).rows.map((row) => {
            const { seq, ...rest } = unpack(row)!;
            return rest.what === "call" && seq === 3 ? { ...rest, code: "OK" } : rest;
          });
          const sealed = seal(head, rows);
          entry.value = sealed.batch;
          head = sealed.head;
        }
      }),
    [/^1 changed \d+-11$/],
  ],
  [
    "a record that was taken out",
    () =>
      rewrite((list) => {
        const batch = batchOf(list, SECOND, 1);
        batch.rows.splice(1, 1);
        batch.hashes = Buffer.concat([batch.hashes.subarray(0, 32), batch.hashes.subarray(64)]);
      }),
    [/^2 missing 6-6$/],
  ],
  ["a message that was deleted", () => remove(SECOND, 1), [/^2 missing 5-7$/]],
  ["the first message deleted", () => remove(FIRST, 0), [/^1 missing 1-4$/]],
  ["the end cut off", () => remove(FIRST, 3), [/^1 truncated 11-11$/]],
  ["the end cut off a running chain", () => remove(SECOND, 2), [/^2 truncated 8-10$/]],
  ["everything removed", async () => void (await purge()), [/^1 truncated 1-11$/, /^2 truncated 1-10$/]],
  [
    "two records that changed places",
    () =>
      rewrite((list) => {
        const { rows } = batchOf(list, FIRST, 0);
        [rows[1], rows[2]] = [rows[2]!, rows[1]!];
      }),
    [/^1 reordered 2-2$/, /^1 reordered 3-3$/],
  ],
  [
    "two messages that changed places",
    () => rewrite((list) => list.splice(0, 2, list[1]!, list[0]!)),
    [/^1 (missing|reordered) /, /^1 reordered /],
  ],
  [
    "something that is no batch",
    () => rewrite((list) => list.push({ subject: SECOND, value: { rows: "none" } })),
    [/^2 unreadable 11-11$/],
  ],
  [
    "a whole chain under another epoch",
    () =>
      rewrite((list) => {
        for (const entry of list) if (entry.subject === FIRST) entry.subject = subjects.audit("memory-1", 7);
      }),
    [/^1 truncated 1-11$/, /^7 changed /],
  ],
  [
    "a head signed by another key",
    async () => {
      const head = readHead(key.publicKey, FIRST, (await kv.get(FIRST))!.value)!;
      await kv.put(
        FIRST,
        signHead({ ...head, seq: 4 }, (bytes) => createKey("account").sign(bytes)),
      );
    },
    [/^1 forged /],
  ],
  [
    "a head of another chain in its place",
    async () => void (await kv.put(FIRST, (await kv.get(SECOND))!.value)),
    [/^1 forged /],
  ],
];
for (const [name, tamper, expected] of TAMPERING) {
  test(`found: ${name}`, async () => {
    await fresh();
    assert.equal(await found(), []);
    await tamper();
    const list = await found();
    for (const pattern of expected)
      assert.ok(
        list.some((text) => pattern.test(text)),
        `${pattern} is not in ${JSON.stringify(list)}`,
      );
  });
}

test("a chain whose head was removed is told as unsigned", async () => {
  await fresh();
  await kv.del(FIRST);
  assert.equal(await found(), []);
  assert.equal(await found(Date.now() + 120_000), ["1 unsigned 1-11"]);
});

test("what is older than the stream keeps is no fault", async () => {
  await fresh();
  await remove(FIRST, 0);
  assert.equal(await found(Date.now() + 100 * 24 * 3600_000), ["1 expired 1-4"]);
});

test("auth signs nothing that does not go on from what it signed, and says so once", async () => {
  await fresh();
  const heads = await signer();
  const before = (await kv.get(SECOND))!.revision;
  const { batch } = seal({ seq: 9, hash: Buffer.alloc(32) }, [{ what: "close", at: 1 }]);
  await append(bus, SECOND, batch);
  await append(bus, SECOND, seal(genesis(SECOND), [{ what: "close", at: 1 }]).batch);
  await heads.round();
  await heads.round();
  assert.equal(warned, [`${SECOND} reordered`]);
  assert.is((await kv.get(SECOND))!.revision, before);
});

test("a successor of auth goes on where it stopped, and reads nothing twice", async () => {
  await fresh();
  const successor = await signer();
  await run(4, true);
  await successor.round();
  const head = readHead(
    key.publicKey,
    subjects.audit("memory-1", 4),
    (await kv.get(subjects.audit("memory-1", 4)))!.value,
  );
  assert.is(head?.seq, 11);
  assert.equal(warned, []);
  assert.equal(await found(), []);
});

test.run();
