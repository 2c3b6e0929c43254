// Several devices in the real programs: one that comes takes part, one that dies loses nothing, one that is drained hands over.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { modelFolder, startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
  await system.client.call("model.importDir", { dir: modelFolder({ context: 512 }), name: "fox" });
});
test.after(() => system.stop());

const ask = (seed: number, maxTokens = 200) => ({
  model: "fox",
  prompt: `the quick brown fox ${"jumps over ".repeat(seed + 1)}`,
  maxTokens,
  temperature: 0.8,
  seed: seed + 1,
});
const streams = (count: number) => Promise.all(Array.from({ length: count }, (_, seed) => system.generate(ask(seed))));
const ids = (answers: { ids: number[] }[]) => answers.map(({ ids }) => ids);
/** Devices of what runs or waits now. */
const busy = async () => {
  const { sequences } = await system.client.call("scheduler.queue", {});
  return new Set(sequences.flatMap(({ device }) => device ?? []));
};
const until = async (holds: () => Promise<boolean>) => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
};
let alone: number[][];
let device2: Awaited<ReturnType<typeof system.kernel.start>>;

test("a device that comes while there is work takes its part of it, and no token changes", async () => {
  alone = [];
  for (let seed = 0; seed < 6; seed++) alone.push((await system.generate(ask(seed))).ids);
  let going = true;
  const rounds = (async () => {
    while (going) assert.equal(ids(await streams(6)), alone);
  })();
  device2 = await system.kernel.start("device", 2);
  const ready = performance.now();
  await until(async () => (await busy()).has("device-2"));
  console.log(`device-2 had work ${(performance.now() - ready).toFixed(0)} ms after it was ready`);
  await until(async () => (await busy()).size === 2);
  going = false;
  await rounds;
});

test("a device that is killed in the midst of streams loses nothing", async () => {
  const running = streams(6);
  await until(async () => (await busy()).has("device-2"));
  await system.kernel.kill("device", device2, 2);
  assert.equal(ids(await running), alone);
});

test("a drained device hands over what it has, and gets no more", async () => {
  device2 = await system.kernel.start("device", 2);
  await until(async () => (await system.client.call("device.list", {}, { instance: "device-2" })).models.length > 0);
  let going = true;
  const rounds = (async () => {
    while (going) assert.equal(ids(await streams(6)), alone);
  })();
  await until(async () => (await busy()).has("device-2"));
  await system.client.call("scheduler.drain", { device: "device-2" });
  await until(async () => !(await busy()).has("device-2"));
  await streams(6);
  assert.not((await busy()).has("device-2"));
  going = false;
  await rounds;
});

test.run();
