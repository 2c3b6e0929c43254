import { test } from "uvu";
import * as assert from "uvu/assert";
import { runSeed } from "./seed.ts";

test("a seed replays exactly, also after another one, and another seed does not", async () => {
  const first = await runSeed(7);
  const other = await runSeed(8);
  const again = await runSeed(7);
  assert.equal(again, first, "the same events in the same order, to the last figure");
  assert.is.not(other.hash, first.hash);
  assert.ok(first.events >= 500 && other.events >= 500);
  assert.equal([...first.violations, ...other.violations], []);
});

test.run();
