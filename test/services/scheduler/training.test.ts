// Training in the real programs: it makes way for people and takes what they leave. Figures are printed, effects decide.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { llama } from "../device/drivers/wasm/files.ts";
import { startRunning } from "./running.ts";
import { startTraining } from "./training.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning(llama({ max_position_embeddings: 2048 }), 40_000_000);
  await system.load();
});
test.after(() => system.stop());

const rested = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ask = (seed: number, maxNew = 16) => ({
  ids: Array.from({ length: 64 }, (_, i) => (5 * i + 17 * seed) % 83),
  maxNew,
  sample: { temperature: 0.8, seed },
});

test("training rests while somebody has work, goes on after, and its end does not wait for that", async () => {
  const training = await startTraining(system.client);
  const trained = training.last();
  // Work without a pause for a second and a half or more: far less than the slice after five.
  const from = performance.now();
  await system.run(ask(0));
  const [held, at] = [training.last(), performance.now()];
  let asked = 1;
  while (performance.now() - from < 1_500) await system.run(ask(asked++, 100));
  const during = training.last() - held;
  const alone = training.last();
  while (training.last() < alone + 3) await rested(20);
  console.log(
    `${asked} requests in ${(performance.now() - at).toFixed(0)} ms, ${during} steps meanwhile; ${trained} before`,
  );
  // The step under way when the first came may be reported late; more only where the work outlasted five seconds.
  assert.ok(during <= 2 || performance.now() - from > 4_000, `${during} steps while others had work`);
  const running = system.run(ask(1, 400));
  assert.is(await training.stop(), "ECANCELED");
  await running;
});

test("tokens are those without training", async () => {
  const alone = await system.run(ask(7, 60));
  const training = await startTraining(system.client);
  const beside = await system.run(ask(7, 60));
  assert.equal(beside.ids, alone.ids);
  await training.stop();
});

test.run();
