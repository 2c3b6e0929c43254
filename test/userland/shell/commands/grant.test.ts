import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { budget, count, plain, seconds, time } from "../../../../userland/shell/commands/grant.ts";

const refused = (run: () => unknown) => assert.throws(run, (error: unknown) => isSomaError(error, "EINVAL"));

test("amounts, times and budgets read as people write them", () => {
  assert.equal([count("500"), count("100k"), count("2M")], [500, 100_000, 2_000_000]);
  assert.equal(
    [time("90s"), time("10m"), time("1h"), time("7d"), time("day")],
    [90_000, 600_000, 3_600_000, 604_800_000, 86_400_000],
  );
  assert.equal(budget("100k/day"), { amount: 100_000, windowMs: 86_400_000 });
  assert.equal(seconds("60/hour"), { amount: 60_000, windowMs: 3_600_000 });
  assert.equal(seconds("0.5/minute"), { amount: 500, windowMs: 60_000 });
});

test("what is no amount or time is refused with an example", () => {
  for (const text of ["", "k", "-5", "1.5", "5 k"]) refused(() => count(text));
  for (const text of ["", "5", "h5", "1y"]) refused(() => time(text));
  refused(() => budget("100"));
  for (const text of ["60", "60s/hour", "/hour", "60/"]) refused(() => seconds(text));
});

test("rights read in plain words", () => {
  assert.match(plain(["model.generate"]), /model\.generate +continue a text/);
});

test.run();
