import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { compose } from "../../../../../services/device/drivers/wasm/compose.ts";

const pending = fc.array(fc.record({ waiting: fc.nat(40), room: fc.integer({ min: -2, max: 40 }) }), { maxLength: 20 });
const budgets = fc.integer({ min: 1, max: 64 });

test("a step keeps its budget, gives nobody more than it can take, and is empty only when nobody can go on", () => {
  fc.assert(
    fc.property(pending, budgets, fc.nat(100), (list, budget, turn) => {
      const chunks = compose(list, budget, turn);
      const total = chunks.reduce((sum, { count }) => sum + count, 0);
      const able = list.reduce((sum, { waiting, room }) => sum + Math.max(0, Math.min(waiting, room)), 0);
      assert.is(total, Math.min(budget, able));
      assert.is(new Set(chunks.map(({ of }) => of)).size, chunks.length);
      for (const { of, count } of chunks) assert.ok(count > 0 && count <= Math.min(list[of]!.waiting, list[of]!.room));
    }),
  );
});

test("decoding goes before prefill, and prefill takes what is left", () => {
  const list = [
    { waiting: 30, room: 99 },
    { waiting: 1, room: 9 },
    { waiting: 0, room: 9 },
    { waiting: 1, room: 9 },
  ];
  assert.equal(compose(list, 8, 0), [
    { of: 1, count: 1 },
    { of: 3, count: 1 },
    { of: 0, count: 6 },
  ]);
});

test("when decoders alone exceed the budget they take turns", () => {
  const list = Array.from({ length: 10 }, () => ({ waiting: 1, room: 5 }));
  const served = new Array<number>(10).fill(0);
  for (let turn = 0; turn < 10; turn++) for (const { of } of compose(list, 4, turn)) served[of]!++;
  assert.equal(served, new Array(10).fill(4));
});

test.run();
