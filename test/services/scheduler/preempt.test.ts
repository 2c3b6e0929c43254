// Preemption in the real programs: apps that want more KV than there is take turns, a device dies meanwhile, and no token changes.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { llama } from "../device/drivers/wasm/files.ts";
import { startRunning } from "./running.ts";

/** Room for two sequences of 24 blocks. */
const BLOCKS = 50;
let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  const config = llama({ max_position_embeddings: 512 });
  system = await startRunning(config, BLOCKS * 4096);
  await system.load();
});
test.after(() => system.stop());

const ask = (seed: number) => ({
  ids: Array.from({ length: 60 }, (_, i) => (5 * i + 17 * seed) % 83),
  maxNew: 320,
  sample: { temperature: seed % 2 === 0 ? 0 : 0.8, seed },
});
const counts = async () => {
  const { figures } = await system.client.call("device.stat", {});
  return Object.values(figures.parking as Record<string, Record<string, number>>)[0]!;
};

test("apps take turns where KV is short: their tokens are those of each alone", async () => {
  const alone: number[][] = [];
  for (let seed = 0; seed < 4; seed++) alone.push((await system.run(ask(seed))).ids);
  assert.is((await counts()).parked, 0);
  const together = await Promise.all([0, 1, 2, 3].map((seed) => system.run(ask(seed), { for: `app-${seed}` })));
  assert.equal(
    together.map(({ ids }) => ids),
    alone,
  );
  const { parked, inPlace, written, restored } = await counts();
  assert.ok(parked! > 0, "somebody was put aside");
  assert.ok(inPlace! + restored! > 0, "and went on with its KV");
  assert.ok(written! > 0, "others needed the room");
  const { shares } = await system.client.call("scheduler.policy", {});
  const preempted = shares.filter(({ principal }) => /^app-/.test(principal)).map(({ preempted }) => preempted);
  const given = preempted.reduce((sum, one) => sum + one, 0);
  assert.ok(given >= parked!, `each time counts for the app that gave way: ${given} of ${parked}`);
});

test("a device killed while sequences stand aside costs no token", async () => {
  const alone: number[][] = [];
  for (let seed = 4; seed < 8; seed++) alone.push((await system.run(ask(seed))).ids);
  const before = (await counts()).written!;
  const running = [4, 5, 6, 7].map((seed) => system.run(ask(seed), { for: `app-${seed}` }));
  while ((await counts()).written === before) await new Promise((resolve) => setTimeout(resolve, 5));
  await system.kernel.kill("device", system.programs.device);
  system.programs.device = await system.kernel.start("device");
  await system.load();
  const together = await Promise.all(running);
  assert.equal(
    together.map(({ ids }) => ids),
    alone,
  );
  assert.is(await system.freeBlocks(), BLOCKS, "no block is left behind");
});

test.run();
