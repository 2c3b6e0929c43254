import { test } from "uvu";
import * as assert from "uvu/assert";
import { AUTH, System, until } from "../helpers/system.ts";

let system: System;
test.after(() => system.stop());

test("the loss of a core service ends the system with code 1, and leaves nothing", async () => {
  system = new System([{ service: "auth", entry: AUTH, core: true, intensity: 1 }]);
  await system.up(["auth-1"]);
  let running = true;
  void system.ended.then(() => (running = false));
  // Killed as soon as it is back, until the kernel gives up.
  const killed = new Set<number>();
  await until("the system has ended", () => {
    for (const [, text] of system.text.matchAll(/"instance":"auth-1","epoch":\d+,"pid":(\d+)/g)) {
      const pid = Number(text);
      if (!killed.has(pid)) process.kill(pid, "SIGKILL");
      killed.add(pid);
    }
    return !running;
  });
  assert.equal(await system.ended, [1, null]);
  assert.is(killed.size, 2);
  assert.equal(system.processes(), []);
});

test.run();
