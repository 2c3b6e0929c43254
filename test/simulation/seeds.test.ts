// Owns the run of `npm run sim` in the suite: up to a thousand seeds, their table, and for a seed that fails the command that replays it.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

/** The time ends the run early, at 300 seeds the least, and never fails it: the last line says how many there were. */
const LIMIT_S = 170;

test("many seeds keep all promises, each kind of fault strikes, and each promise is looked at", async () => {
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  const run = spawn(process.execPath, ["--import", "tsx", main, "--limit", String(LIMIT_S)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const code = await new Promise((resolve) => run.on("exit", resolve));
  assert.is(code, 0, "see above; each seed that failed says how to replay it");
});

test.run();
