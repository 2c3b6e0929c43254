// A real device cut into parts: both sides saturated get CPU time by their shares, pins are kept, cuts outlive the scheduler.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { measureParts, split } from "../../../bench/vdev/shares.ts";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>> & { person: Client };
test.before(async () => {
  const running = await startRunning();
  await running.load();
  system = { ...running, person: await running.world.client("person") };
});
test.after(() => system.stop());

test("two parts that want more than there is get CPU time near their shares, also after a resize", async () => {
  await split(system, 70);
  const got = await measureParts(system, 1_500, () => split(system, 30));
  for (const { due, cpu } of got) {
    console.log(`a is due ${due}%, got ${(100 * cpu).toFixed(1)}% of CPU time`);
    assert.ok(Math.abs(100 * cpu - due) <= 15, `${(100 * cpu).toFixed(1)}% instead of ${due}%`);
  }
});

test("a pinned call runs on its part, and one that its quota could never hold is refused with the figures", async () => {
  const { output } = await system.run({ device: "cpu0/a" });
  assert.is(output.device, "device-1/a");
  const { parts } = await system.person.call("scheduler.parts", {});
  const quota = parts.find(({ part }) => part === "a")!.blocks;
  const maxNew = (quota + 1) * 16;
  const error = (await system.run({ device: "a", maxNew }).catch((error) => error)) as SomaError;
  assert.is(error.code, "ENOMEM");
  assert.match(error.message, new RegExp(`has ${quota} on device-1/a`));
  const unknown = (await system.run({ device: "c" }).catch((error) => error)) as SomaError;
  assert.is(unknown.code, "ENOENT");
});

test("a cut outlives the scheduler, and a merge ends it", async () => {
  await system.kernel.kill("scheduler", system.programs.scheduler);
  system.programs.scheduler = await system.kernel.start("scheduler");
  const names = async () =>
    (await system.person.call("scheduler.parts", {})).parts.map(({ part, share }) => `${part} ${share}`);
  assert.equal(await names(), ["a 0.3", "b 0.7"]);
  await system.person.call("scheduler.merge", { device: "cpu0" });
  assert.equal(await names(), [" 1"]);
  assert.is((await system.run({})).output.device, "device-1");
});

test.run();
