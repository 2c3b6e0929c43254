// Whatever is done to a chain is found, and told at the right record.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type Batch,
  check,
  type Fault,
  genesis,
  type Head,
  type Row,
  readBatch,
  seal,
  unpack,
} from "../../../kernel/ipc/chain.ts";

const SUBJECT = "audit.memory-1.3";
const row = (n: number): Row => ({
  ...{ what: "call", at: 1_700_000_000_000 + n, caller: `app-${n % 3}`, principal: "app" },
  ...{ call: "memory.get", id: `id${n}`, code: "OK", ms: n / 1_000, times: 1 },
});

/** Batches of these sizes, chained. */
function chain(sizes: readonly number[]): { batches: Batch[]; head: Head } {
  let head = genesis(SUBJECT);
  const batches = sizes.map((size) => {
    const rows = Array.from({ length: size }, (_, i) => row(head.seq + 1 + i));
    const sealed = seal(head, rows);
    head = sealed.head;
    return sealed.batch;
  });
  return { batches, head };
}

function walk(batches: readonly Batch[]): { head: Head; faults: Fault[] } {
  let head = genesis(SUBJECT);
  const faults: Fault[] = [];
  for (const batch of batches) {
    const checked = check(head, batch);
    head = checked.head;
    faults.push(...checked.faults);
  }
  return { head, faults };
}

const sizes = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 8 });
/** Batches, and the index of one record: [batch, row, number]. */
const target = sizes.chain((list) =>
  fc.integer({ min: 1, max: list.reduce((a, b) => a + b, 0) }).map((seq) => {
    let [batch, left] = [0, seq - 1];
    while (left >= list[batch]!) left -= list[batch++]!;
    return { ...chain(list), at: batch, i: left, seq };
  }),
);
const covers = (faults: Fault[], seq: number) => faults.some(({ first, last }) => first <= seq && seq <= last);

test("a record comes back as it was written", () => {
  const rows: Row[] = [
    { what: "open", at: 5 },
    { ...row(2), grant: "g", revision: 4, model: "tiny", version: 2, tokens: 17, prompt: "hello" } as Row,
    { what: "lost", at: 6, times: 12 },
    { what: "close", at: 7 },
  ];
  const { batch } = seal(genesis(SUBJECT), rows);
  assert.equal(
    batch.rows.map(unpack),
    rows.map((one, i) => ({ seq: i + 1, ...one })),
  );
});

test("an untouched chain has no fault, however it is cut into batches", () => {
  fc.assert(
    fc.property(sizes, (list) => {
      const { batches, head } = chain(list);
      assert.equal(walk(batches), { head, faults: [] });
    }),
  );
});

test("a batch that was sent twice is no fault", () => {
  const { batches, head } = chain([2, 3]);
  assert.equal(walk([batches[0]!, batches[1]!, batches[1]!]), { head, faults: [] });
});

test("any changed byte of any record is found at that record", () => {
  fc.assert(
    fc.property(target, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ batches, at, i, seq }, place, flip) => {
      const bytes = Uint8Array.from(batches[at]!.rows[i]!);
      bytes[place % bytes.length]! ^= flip;
      batches[at]!.rows[i] = bytes;
      assert.ok(covers(walk(batches).faults, seq));
    }),
  );
});

test("a record that was taken out of a batch is missing, and no other", () => {
  fc.assert(
    fc.property(target, ({ batches, at, i, seq }) => {
      const batch = batches[at]!;
      // Of a batch's last record only what follows, or the signed head, can tell.
      fc.pre(i < batch.rows.length - 1);
      batch.rows.splice(i, 1);
      batch.hashes = Buffer.concat([batch.hashes.subarray(0, 32 * i), batch.hashes.subarray(32 * (i + 1))]);
      assert.equal(walk(batches).faults, [{ what: "missing", first: seq, last: seq }]);
    }),
  );
});

test("a batch that was taken out is missing, unless it was the last", () => {
  fc.assert(
    fc.property(target, ({ batches, at }) => {
      fc.pre(at < batches.length - 1);
      const [{ first, rows }] = batches.splice(at, 1) as [Batch];
      assert.equal(walk(batches).faults, [{ what: "missing", first, last: first + rows.length - 1 }]);
    }),
  );
});

test("two records that changed places are told as reordered", () => {
  fc.assert(
    fc.property(target, ({ batches, at, i, seq }) => {
      const { rows } = batches[at]!;
      fc.pre(i < rows.length - 1);
      [rows[i], rows[i + 1]] = [rows[i + 1]!, rows[i]!];
      assert.equal(walk(batches).faults, [
        { what: "reordered", first: seq, last: seq },
        { what: "reordered", first: seq + 1, last: seq + 1 },
      ]);
    }),
  );
});

test("two batches that changed places are found", () => {
  fc.assert(
    fc.property(target, ({ batches, at }) => {
      fc.pre(at < batches.length - 1);
      [batches[at], batches[at + 1]] = [batches[at + 1]!, batches[at]!];
      assert.ok(walk(batches).faults.some(({ what }) => what === "reordered"));
    }),
  );
});

test("a batch that was written anew, with hashes that fit, does not fit what follows", () => {
  const { batches } = chain([3, 3]);
  const forged = seal(genesis(SUBJECT), [row(1), { ...row(2), caller: "nobody" } as Row, row(3)]);
  assert.equal(walk([forged.batch, batches[1]!]).faults, [{ what: "changed", first: 3, last: 3 }]);
});

test("a chain does not pass for that of another instance or epoch", () => {
  const { batch } = seal(genesis("audit.memory-1.4"), [row(1)]);
  assert.is(check(genesis(SUBJECT), batch).faults[0]?.what, "changed");
});

test("bytes that are no batch or no record are not taken for one", () => {
  fc.assert(fc.property(fc.anything(), (value) => readBatch(value) === undefined));
  fc.assert(fc.property(fc.uint8Array(), (bytes) => ["undefined", "object"].includes(typeof unpack(bytes))));
});

test.run();
