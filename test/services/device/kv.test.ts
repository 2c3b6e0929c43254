// Owns the proof that KV blocks are never leaked, freed twice or shared while they may be written.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BLOCK_TOKENS } from "../../../kernel/abi/limits.ts";
import { Kv, type Table } from "../../../services/device/kv.ts";

interface Live {
  table: Table;
  ids: number[];
  pos: number;
}

const TOTAL = 64;

/** Ids over a tiny alphabet of whole blocks, so that prefixes collide often. */
function ids(seed: number, length: number): number[] {
  return Array.from({ length }, (_, i) => (seed >> (Math.floor(i / BLOCK_TOKENS) % 3)) & 1);
}

function check(kv: Kv, live: Live[]): void {
  const owners = new Map<number, number>();
  for (const { table, ids, pos } of live) {
    assert.is(new Set(table.blocks).size, table.blocks.length, "a table names a block once");
    assert.ok(table.blocks.length * BLOCK_TOKENS >= pos, "what is computed has its block");
    assert.ok(table.node.depth * BLOCK_TOKENS <= pos, "only computed blocks are offered to others");
    assert.ok(ids.length >= pos);
    table.blocks.forEach((block, i) => {
      if (i >= table.node.depth) owners.set(block, (owners.get(block) ?? 0) + 1);
    });
  }
  for (const [block, count] of owners) {
    assert.is(count, 1, `block ${block} may be written by one table`);
    for (const { table } of live) assert.not.ok(table.blocks.slice(0, table.node.depth).includes(block));
  }
  const held = new Set(live.flatMap(({ table }) => table.blocks)).size;
  assert.is(kv.free, TOTAL - held, "every block that no table names can be had");
}

const operation = fc.tuple(fc.constantFrom("open", "compute", "compute", "share", "close"), fc.nat(7), fc.nat(70));

function run(operations: [string, number, number][]): Kv {
  const kv = new Kv(TOTAL);
  const live: Live[] = [];
  for (const [what, a, b] of operations) {
    const one = live[a % Math.max(1, live.length)];
    if (what === "open") {
      const fresh = { table: kv.open(), ids: ids(a, 20 + b), pos: 0 };
      fresh.pos = kv.share(fresh.table, fresh.ids, fresh.ids.length - 1);
      live.push(fresh);
    } else if (one !== undefined && what === "compute") {
      const pos = Math.min(one.ids.length, one.pos + b);
      if (kv.grow(one.table, pos)) {
        one.pos = pos;
        kv.commit(one.table, one.ids, pos);
      }
      kv.shrink(one.table, one.pos);
    } else if (one !== undefined && what === "share" && one.pos === one.table.node.depth * BLOCK_TOKENS) {
      kv.shrink(one.table, one.pos);
      one.pos = kv.share(one.table, one.ids, one.ids.length - 1);
    } else if (one !== undefined && what === "close") {
      kv.close(one.table);
      live.splice(live.indexOf(one), 1);
    }
    check(kv, live);
  }
  for (const { table } of live) kv.close(table);
  return kv;
}

test("no block is leaked or freed twice, whatever the order of operations", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const kv = run(operations);
      assert.is(kv.free, TOTAL);
      kv.clear();
      assert.is(kv.free, TOTAL);
      assert.is(kv.cached, 0);
    }),
    { numRuns: 60 },
  );
});

test("after 10,000 random operations in a row every block can be had again", () => {
  const [operations] = fc.sample(fc.array(operation, { minLength: 10_000, maxLength: 10_000, size: "max" }), {
    numRuns: 1,
    seed: 7,
  });
  assert.is(operations!.length, 10_000);
  const kv = run(operations!);
  assert.is(kv.free, TOTAL);
  kv.clear();
  assert.is(kv.free, TOTAL);
});

test("a prefix that one sequence computed costs the next one nothing but its rest", () => {
  const kv = new Kv(16);
  const prompt = ids(5, 50);
  const first = kv.open();
  assert.ok(kv.grow(first, 50));
  kv.commit(first, prompt, 50);
  const second = kv.open();
  assert.is(kv.share(second, prompt, 49), 48);
  assert.equal(second.blocks, first.blocks.slice(0, 3));
  assert.is(kv.free, 16 - 4);
  kv.close(first);
  assert.is(kv.free, 16 - 3);
  kv.close(second);
  assert.is(kv.free, 16);
  assert.is(kv.cached, 3, "it stays for whoever comes next");
});

test("the same blocks computed twice are kept once", () => {
  const kv = new Kv(16);
  const prompt = ids(3, 32);
  const [a, b] = [kv.open(), kv.open()];
  for (const table of [a, b]) assert.ok(kv.grow(table, 32));
  assert.is(kv.free, 12);
  kv.commit(a, prompt, 32);
  kv.commit(b, prompt, 32);
  assert.equal(a.blocks, b.blocks);
  assert.is(kv.free, 14);
});

test("a full pool gives up the prefix that was used longest ago, and of that the end first", () => {
  const kv = new Kv(4);
  const [old, recent] = [ids(0, 32), ids(7, 32)];
  for (const prompt of [old, recent]) {
    const table = kv.open();
    assert.ok(kv.grow(table, 32));
    kv.commit(table, prompt, 32);
    kv.close(table);
  }
  assert.is(kv.cached, 4);
  const table = kv.open();
  assert.ok(kv.grow(table, 1));
  assert.is(kv.share(kv.open(), old, 32), 16, "its last block is gone");
  assert.is(kv.share(kv.open(), recent, 32), 32);
  assert.not.ok(kv.grow(kv.open(), 80), "all others are held");
});

test.run();
