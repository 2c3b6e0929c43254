import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import * as budget from "../../../services/memory/budget.ts";

const MB = 1024 * 1024;
const empty: budget.Budgets = budget.report({}, { device: "device-1", budgetBytes: 100 * MB, models: [] });
const ask = (holder: string, bytes: number, device = "device-1") => ({ device, holder, kind: "kv" as const, bytes });

/** Whoever is short waits as many ms as it is short of MB. */
const reserve = (budgets: budget.Budgets, input: ReturnType<typeof ask>) =>
  budget.reserve(budgets, input, (short) => Math.ceil(short / MB));

function refusal(work: () => unknown) {
  try {
    work();
  } catch (error) {
    if (isSomaError(error)) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

test("a reservation is set, not added, so that a repeat changes nothing", () => {
  const once = reserve(empty, ask("a/kv", 60 * MB));
  assert.equal(reserve(once, ask("a/kv", 60 * MB)), once);
  assert.is(budget.freeBytes(reserve(once, ask("a/kv", 90 * MB))["device-1"]), 10 * MB);
  const freed = budget.release(once, ask("a/kv", 0));
  assert.equal(freed, empty);
  assert.is(budget.release(freed, ask("a/kv", 0)), freed);
});

test("short for now is EAGAIN with figures and a time, too small for ever is ENOMEM", () => {
  const held = reserve(empty, ask("a/kv", 60 * MB));
  const short = refusal(() => reserve(held, ask("b/kv", 50 * MB)));
  assert.is(short.code, "EAGAIN");
  assert.is(short.retryAfterMs, 10, "what it is short of, not what it asks for");
  assert.match(short.message, "try again in 10 ms");
  assert.match(short.message, "device-1 has 40.0 MB of 100.0 MB free");
  assert.match(short.message, "unload a model");
  assert.is(refusal(() => reserve(held, ask("b/kv", 101 * MB))).code, "ENOMEM");
  assert.is(refusal(() => reserve(held, ask("b/kv", 1, "device-2"))).code, "EAGAIN");
});

test("a device's own list adds what was not reserved, ends what it holds no more, and leaves what is on its way", () => {
  const row = (model: string) => ({ model, weightBytes: 10 * MB, kvBytes: 5 * MB });
  const list = (...models: string[]) => ({ device: "device-1", budgetBytes: 100 * MB, models: models.map(row) });
  let budgets = budget.report(reserve(empty, ask("coming/kv", 20 * MB)), list("tiny"));
  assert.equal(Object.keys(budgets["device-1"]!.holders).sort(), ["coming/kv", "tiny/kv", "tiny/weights"]);
  assert.is(budget.freeBytes(budgets["device-1"]), 65 * MB);
  budgets = budget.report(budgets, list("coming"));
  assert.equal(Object.keys(budgets["device-1"]!.holders).sort(), ["coming/kv", "coming/weights"]);
  budgets = budget.report(budgets, list());
  assert.equal(budgets, empty);
});

test("what a device's process reserved ends with its successor, whose word a late one of its own does not undo", () => {
  const list = (epoch: number) => ({ device: "device-1", budgetBytes: 100 * MB, models: [], epoch });
  let budgets = reserve(budget.report({}, list(3)), ask("a/kv", 20 * MB));
  budgets = budget.report(budgets, list(3));
  assert.is(budget.freeBytes(budgets["device-1"]), 80 * MB, "it is on its way");
  budgets = budget.report(budgets, list(4));
  assert.is(budget.freeBytes(budgets["device-1"]), 100 * MB);
  budgets = reserve(budgets, ask("b/kv", 10 * MB));
  assert.equal(budget.report(budgets, list(3)), budgets);
});

test("a device made smaller than what it holds has nothing free, and its holders may still shrink", () => {
  const held = reserve(empty, ask("a/kv", 80 * MB));
  const small = budget.report(held, { device: "device-1", budgetBytes: 50 * MB, models: [] });
  assert.is(budget.freeBytes(small["device-1"]), 0);
  assert.is(refusal(() => reserve(small, ask("b/kv", 1))).code, "EAGAIN");
  const less = reserve(small, ask("a/kv", 70 * MB));
  assert.is(budget.freeBytes(less["device-1"]), 0);
  assert.is(budget.freeBytes(reserve(less, ask("a/kv", 40 * MB))["device-1"]), 10 * MB);
});

test("devices that go down take their holders along, and a name that every object has is a name like others", () => {
  const held = reserve(empty, ask("constructor", MB));
  assert.is(budget.freeBytes(held["device-1"]), 99 * MB);
  assert.is(refusal(() => reserve(held, ask("a", 1, "constructor"))).code, "EAGAIN");
  assert.equal(budget.down(held, "device-1"), {});
  assert.equal(budget.running(held, ["device-2"]), {});
  assert.is(Object.keys(budget.running(held, ["device-1"])).length, 1);
});

test("after 10,000 random operations what is held is what a plain model says, never over budget, and nothing leaks", () => {
  type Op = { op: "reserve" | "release" | "down" | "report"; device: number; holder: number; mb: number };
  const operation: fc.Arbitrary<Op> = fc.record({
    op: fc.oneof(
      { arbitrary: fc.constant("reserve" as const), weight: 6 },
      { arbitrary: fc.constant("release" as const), weight: 3 },
      { arbitrary: fc.constant("down" as const), weight: 1 },
      { arbitrary: fc.constant("report" as const), weight: 2 },
    ),
    device: fc.integer({ min: 1, max: 3 }),
    holder: fc.integer({ min: 1, max: 12 }),
    mb: fc.integer({ min: 0, max: 40 }),
  });
  fc.assert(
    fc.property(fc.array(operation, { minLength: 500, maxLength: 500 }), (operations) => {
      let budgets: budget.Budgets = {};
      const model = new Map<string, Map<string, number>>();
      for (const { op, device: number, holder: index, mb } of operations) {
        const device = `device-${number}`;
        const holder = `h${index}/kv`;
        const held = model.get(device);
        if (op === "report") {
          budgets = budget.report(budgets, { device, budgetBytes: 100 * MB, models: [] });
          if (!held) model.set(device, new Map());
        } else if (op === "down") {
          budgets = budget.down(budgets, device);
          model.delete(device);
        } else if (op === "release") {
          budgets = budget.release(budgets, { device, holder });
          held?.delete(holder);
        } else {
          const others = [...(held ?? [])].reduce((sum, [name, bytes]) => sum + (name === holder ? 0 : bytes), 0);
          const fits = held !== undefined && others + mb * MB <= 100 * MB;
          try {
            budgets = reserve(budgets, ask(holder, mb * MB, device));
            if (!fits) return false;
            held!.set(holder, mb * MB);
          } catch (error) {
            if (!isSomaError(error, "EAGAIN") || fits) throw error;
          }
        }
        for (const [name, holders] of model) {
          const used = [...holders.values()].reduce((sum, bytes) => sum + bytes, 0);
          if (budget.freeBytes(budgets[name]) !== 100 * MB - used || used > 100 * MB) return false;
        }
      }
      for (const [device, holders] of model)
        for (const holder of holders.keys()) budgets = budget.release(budgets, { device, holder });
      return Object.values(budgets).every(({ holders }) => Object.keys(holders).length === 0);
    }),
    { numRuns: 20 },
  );
});

test.run();
