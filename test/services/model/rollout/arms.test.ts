import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import { Arm, inShare, type Rule, verdict } from "../../../../services/model/rollout/arms.ts";

const rule: Rule = { requests: 10, failures: 0.05, slower: 2 };
function row(requests: number, failures: number, tokenMs = 10) {
  const arm = new Arm();
  for (let i = 0; i < requests; i++) arm.add(i < failures ? new SomaError("EIO", "gone") : undefined, { tokenMs });
  return arm.row("m", 1);
}

test("what the caller did wrong, or broke off, counts for neither side", () => {
  const arm = new Arm();
  for (const code of ["EINVAL", "ECANCELED", "EDQUOT", "EPERM"] as const) arm.add(new SomaError(code, "no"));
  arm.add(new SomaError("ETIME", "late"));
  arm.add(new Error("a bug"));
  arm.add(undefined, { firstMs: 5 });
  const { requests, failures, firstMs, tokenMs } = arm.row("m", 1);
  assert.equal([requests, failures, firstMs, tokenMs], [3, 2, [5, 5], null]);
});

test("a rule decides only once there is enough to see", () => {
  assert.is(verdict(row(100, 0), row(9, 9), rule), undefined);
  assert.is(verdict(row(100, 0), row(10, 10), rule)?.what, "rolled back");
  assert.is(verdict(row(100, 50), row(10, 5), rule), undefined, "the other side fails as often");
  assert.is(verdict(row(100, 0), row(100, 5), rule), undefined, "within what is allowed");
  assert.match(
    verdict(row(100, 1), row(100, 7), rule)?.why ?? "",
    /^7\.0 % of 100 requests failed, 1\.0 % of the other 100$/,
  );
});

test("a slower version is taken back, a good one is promoted where the rule says so", () => {
  assert.is(verdict(row(50, 0, 10), row(50, 0, 21), rule)?.what, "rolled back");
  assert.is(verdict(row(50, 0, 10), row(50, 0, 19), rule), undefined);
  assert.is(verdict(row(9, 0, 10), row(50, 0, 21), rule), undefined, "too little to compare with");
  assert.is(verdict(row(0, 0), row(40, 0), { ...rule, promoteAfter: 40 })?.what, "promoted");
  assert.is(verdict(row(0, 0), row(39, 0), { ...rule, promoteAfter: 40 }), undefined);
});

test("a share of keys is that share, each key always on the same side, and a larger share keeps those of a smaller", () => {
  const keys = Array.from({ length: 20_000 }, (_, i) => `key-${i}`);
  for (const share of [0, 0.01, 0.1, 0.5, 1]) {
    const part = keys.filter((key) => inShare(key, share)).length / keys.length;
    assert.ok(Math.abs(part - share) < 0.01, `${part} for ${share}`);
  }
  fc.assert(
    fc.property(
      fc.string(),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (key, a, b) => {
        if (inShare(key, Math.min(a, b))) assert.ok(inShare(key, Math.max(a, b)));
      },
    ),
  );
});

test.run();
