import { test } from "uvu";
import * as assert from "uvu/assert";
import { launcherLine } from "../../../userland/shell/start.ts";

test("the launcher's own words are shown as they are, blank lines are not", () => {
  assert.is(launcherLine("soma: nats-server 2.9.10 on PATH is too old"), "soma: nats-server 2.9.10 on PATH is too old");
  assert.is(launcherLine("  "), undefined);
});

test("of the kernel's log only what went wrong is shown, in a line", () => {
  assert.is(launcherLine('{"level":"info","message":"ready"}'), undefined);
  const line = '{"level":"warn","message":"model-1 crashed","reason":"exited with code 70","lines":["x"]}';
  assert.is(launcherLine(line), "warn: model-1 crashed, exited with code 70 (more: soma log kernel)");
});

test.run();
