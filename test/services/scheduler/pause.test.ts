// Pausing: on the simulated device, and in the real programs, where a paused stream goes on later with the tokens of one that ran through.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { llama } from "../device/drivers/wasm/files.ts";
import { startRunning } from "./running.ts";
import { Simulation } from "./simulation.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning(llama({ max_position_embeddings: 2048 }), 20_000_000);
  await system.load();
});
test.after(() => system.stop());

const prompt = [3, 1, 4, 1, 5, 9, 2, 6];
const LONG = { ids: prompt, maxNew: 600, sample: { temperature: 0.8, seed: 7 } };
const queue = async () => (await system.client.call("scheduler.queue", {})).sequences;
async function until<T>(get: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const value = await get();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const started = () => until(async () => (await queue()).find(({ newTokens }) => newTokens > 0));
/** Once what was in flight has been reported. */
async function settled(id: string): Promise<number> {
  let last = -1;
  return until(async () => {
    const { newTokens } = (await queue()).find((one) => one.id === id)!;
    if (newTokens === last) return newTokens;
    last = newTokens;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return undefined;
  });
}

test("a paused stream makes no token, and goes on with those that it would have made", async () => {
  const alone = await system.run(LONG);
  const running = system.run(LONG);
  const { id } = await started();
  await system.client.call("scheduler.pause", { id });
  const tokens = await settled(id);
  assert.ok(tokens < LONG.maxNew, "it had not ended before");
  const [row] = await queue();
  assert.is(row!.state, "paused");
  assert.match(row!.why, `is paused, ${tokens} of 600 tokens made`);
  // Others have the device meanwhile.
  assert.is((await system.run({ ids: [5, 6, 7], maxNew: 30 })).ids.length, 30);
  assert.is((await queue())[0]!.newTokens, tokens);
  await system.client.call("scheduler.resume", { id: id.split("/")[1]! });
  assert.equal((await running).ids, alone.ids);
});

test("a paused stream whose device dies goes on with the same tokens", async () => {
  const alone = await system.run(LONG);
  const running = system.run(LONG);
  const { id } = await started();
  await system.client.call("scheduler.pause", { id });
  await settled(id);
  await system.kernel.kill("device", system.programs.device);
  system.programs.device = await system.kernel.start("device");
  await system.load();
  assert.is((await queue())[0]!.state, "paused");
  await system.client.call("scheduler.resume", { id });
  assert.equal((await running).ids, alone.ids);
});

test("a paused stream's deadline goes on, and gives its blocks back", async () => {
  const free = await system.freeBlocks();
  const began = performance.now();
  await system.run(LONG);
  // Enough that it is not refused for want of time.
  const ttl = 1_000 + 3 * (performance.now() - began);
  const running = system.run(LONG, { ttl }).catch((error) => error);
  const { id } = await started();
  await system.client.call("scheduler.pause", { id });
  assert.ok(isSomaError(await running, "ETIME"));
  assert.equal(await queue(), []);
  await until(async () => (await system.freeBlocks()) === free);
});

test("what does not run cannot be paused", async () => {
  const refused = await system.client.call("scheduler.pause", { id: "nobody" }).catch((error) => error);
  assert.ok(isSomaError(refused, "ENOENT"));
});

test("whatever is paused, resumed, or lost with its device in between: all end with all their tokens, none while paused", () => {
  const steps = fc.array(fc.tuple(fc.nat(5), fc.constantFrom("pause", "resume", "step", "step", "crash")), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const simulation = new Simulation({ blocks: 40 });
      const { board } = simulation;
      for (let i = 0; i < 6; i++) simulation.add(`s${i}`, `app-${i % 2}`, 30 + i, 60);
      let epoch = 1;
      for (const [i, what] of list) {
        const sequence = board.sequences.get(`s${i}`);
        if (what === "step") simulation.step();
        else if (what === "crash") {
          simulation.crash();
          simulation.place(++epoch, 40);
        } else if (sequence) board[what as "pause" | "resume"](sequence);
      }
      while (simulation.step());
      assert.ok([...board.sequences.values()].every(({ paused }) => paused));
      for (const sequence of [...board.sequences.values()]) board.resume(sequence);
      while (simulation.step());
      assert.equal(
        simulation.ended.map(({ newTokens }) => newTokens),
        new Array(6).fill(60),
      );
      assert.ok([...board.accounts.values()].every(({ active }) => active === 0));
    }),
  );
});

test.run();
