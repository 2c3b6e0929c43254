// The real programs together: streams through scheduler and device are those of the model alone, whatever else happens.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
  await system.load();
});
test.after(async () => {
  await system.stop();
});

const prompt = (seed: number) => Array.from({ length: 20 + seed }, (_, i) => (7 * i + 13 * seed) % 83);
const sampled = (seed: number) => ({ ids: prompt(seed), maxNew: 40, sample: { temperature: 0.9, seed } });

test("a sequence comes back token by token, with what it used", async () => {
  const { ids, positions, output } = await system.run({ ids: prompt(0), maxNew: 12 });
  assert.is(ids.length, 12);
  assert.is(positions[0], 0);
  assert.equal(output.finish, "length");
  assert.is(output.newTokens, 12);
  assert.is(output.device, "device-1");
  assert.ok(output.numerics.startsWith("wasm:"));
  assert.equal([output.usage.promptTokens, output.usage.newTokens], [20, 12]);
});

test("eight streams at once are the same as one after another", async () => {
  const alone: number[][] = [];
  for (let seed = 0; seed < 8; seed++) alone.push((await system.run(sampled(seed))).ids);
  const together = await Promise.all(Array.from({ length: 8 }, (_, seed) => system.run(sampled(seed))));
  assert.equal(
    together.map(({ ids }) => ids),
    alone,
  );
});

test("a stop id ends a sequence, and it is the last one", async () => {
  const { ids } = await system.run(sampled(3));
  const stop = ids[10]!;
  const stopped = await system.run({ ...sampled(3), stopIds: [stop] });
  assert.is(stopped.output.finish, "stop");
  assert.equal(stopped.ids, ids.slice(0, ids.indexOf(stop) + 1));
});

test("scores and vectors pass through", async () => {
  const ids = prompt(1);
  const { output } = await system.run({ ids, mode: "score", maxNew: 0 });
  assert.is(output.logprobs?.length, ids.length);
  assert.is(output.logprobs?.[0], 0);
  assert.ok(output.logprobs!.slice(1).every((logprob) => logprob < 0));
  const tail = await system.run({ ids, mode: "score", maxNew: 0, from: 18 });
  assert.equal(tail.output.logprobs?.slice(18), output.logprobs?.slice(18));
  assert.ok(tail.output.logprobs!.slice(0, 18).every((logprob) => logprob === 0));
  const embedded = await system.run({ ids, mode: "embed", maxNew: 0 });
  assert.is(embedded.output.vector?.length, 24);
  assert.ok(embedded.output.vector!.some((value) => value !== 0));
});

test("a canceled sequence ends, and its blocks can be had again", async () => {
  const before = await system.freeBlocks();
  const abort = new AbortController();
  const running = system.run({ ids: prompt(5), maxNew: 100 }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 5);
  await running.then(
    ({ output }) => assert.ok(output),
    (error: SomaError) => assert.is(error.code, "ECANCELED"),
  );
  while ((await system.freeBlocks()) !== before) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal((await system.client.call("scheduler.queue", {})).sequences, []);
});

test("sequences canceled before, in and after their first quantum leave no block behind", async () => {
  const before = await system.freeBlocks();
  const ends = await Promise.all(
    Array.from({ length: 40 }, (_, i) => {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), i / 2);
      return system.run({ ids: prompt(i % 9), maxNew: 80 }, { signal: abort.signal }).then(
        () => "done",
        (error: SomaError) => error.code,
      );
    }),
  );
  assert.ok(ends.includes("ECANCELED"));
  while ((await system.freeBlocks()) !== before) await new Promise((resolve) => setTimeout(resolve, 10));
  const { models } = await system.client.call("device.list", {});
  assert.is(models[0]?.sequences, 0);
});

test("what can never fit is refused at once, with the figures", async () => {
  const error = await system.run({ ids: prompt(0), maxNew: 1_000_000 }).catch((error: SomaError) => error);
  assert.is((error as SomaError).code, "ENOMEM");
  assert.match((error as SomaError).message, /blocks/);
});

test("a stream goes on token for token after the device was killed", async () => {
  const undisturbed = await system.run({ ...sampled(2), maxNew: 90 });
  const running = system.run({ ...sampled(2), maxNew: 90 });
  await new Promise((resolve) => setTimeout(resolve, 30));
  await system.kernel.kill("device", system.programs.device);
  system.programs.device = await system.kernel.start("device");
  await system.load();
  const resumed = await running;
  assert.equal(resumed.ids, undisturbed.ids);
  assert.is(resumed.output.newTokens, 90);
});

test.run();
