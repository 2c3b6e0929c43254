import { test } from "uvu";
import * as assert from "uvu/assert";
import { MUTANTS } from "./mutants.ts";
import { runSeed } from "./seed.ts";

/** Found at the first seeds; `npm run sim -- --mutant all` hunts for all. */
const QUICK = ["leak-blocks", "share-wrongly", "two-jobs"];

for (const name of QUICK)
  test(`the simulation finds that ${MUTANTS[name]!.what}`, async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= 10 && found.length === 0; seed++) {
      const { violations } = await runSeed(seed, undefined, name);
      found.push(
        ...violations.filter((line) => MUTANTS[name]!.breaks.some((promise) => line.startsWith(`${promise}:`))),
      );
    }
    assert.ok(found.length > 0);
  });

test("a mutant is taken out again", async () => {
  await runSeed(1, undefined, QUICK[0]);
  assert.equal((await runSeed(1)).violations, []);
});

test.run();
