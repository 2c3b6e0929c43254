// Budgets with the real programs: auth leases, the scheduler spends, both are killed, and the sums are right all the same.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError, type SomaError } from "../../../kernel/abi/errors.ts";
import type { Input } from "../../../kernel/abi/syscalls.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { startRunning } from "./running.ts";

const DAY = 24 * 3600_000;
let system: Awaited<ReturnType<typeof startRunning>>;
let auth: Awaited<ReturnType<typeof system.kernel.start>>;
let person: Client;
test.before(async () => {
  system = await startRunning();
  auth = await system.kernel.start("auth");
  person = await system.world.client("person");
  await system.load();
});
test.after(() => system.stop());

async function give(holder: string, caveats: Input<"auth.grant">["caveats"]) {
  const { publicKey } = createKey("user");
  const { grant } = await person.call("auth.grant", { holder, publicKey, calls: ["model.generate"], caveats });
  return { principal: grant.app, grant: grant.id, revision: grant.revision };
}
const prompt = (seed: number) => Array.from({ length: 20 }, (_, i) => (7 * i + 13 * seed) % 83);
const failure = (promise: Promise<unknown>): Promise<SomaError> =>
  promise.then(
    () => assert.unreachable("it was not refused"),
    (error) => error,
  );
async function budgets(holder: string) {
  const rows = (await person.call("auth.apps", {}, { ttl: 10_000 })).budgets.filter((row) => row.holder === holder);
  return Object.fromEntries(rows.map((row) => [row.budget, row]));
}
/** Once nothing is leased any more. */
async function settled(holder: string) {
  for (;;) {
    const rows = await budgets(holder);
    if (Object.values(rows).every(({ leased }) => leased === 0)) return rows;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a call is charged for what was computed, in tokens and in device time, and the rest returns", async () => {
  const who = await give("ann", {
    tokens: { amount: 1_000, windowMs: DAY },
    deviceMs: { amount: 60_000, windowMs: DAY },
  });
  const { output } = await system.run({ ids: prompt(1), maxNew: 12 }, { for: who });
  const { tokens, deviceMs } = await settled("ann");
  assert.is(tokens!.spent, output.usage.computedTokens);
  assert.is(tokens!.left, 1_000 - tokens!.spent);
  assert.ok(deviceMs!.spent > 0 && deviceMs!.spent <= output.usage.runMs + 1, `${deviceMs!.spent} ms`);
});

test("who asks for more than is left is refused at once, with the figures, the time and the way to raise it", async () => {
  const who = await give("ben", { tokens: { amount: 30, windowMs: DAY } });
  const error = await failure(system.run({ ids: prompt(2), maxNew: 12 }, { for: who }));
  assert.is(error.code, "EDQUOT");
  assert.match(
    error.message,
    /"ben" has used 0 of its 30 tokens per day and lacks 2 more: wait until \d{4}-.*soma app grant ben --tokens/,
  );
  assert.ok(error.retryAfterMs! > 0 && error.retryAfterMs! <= DAY);
  await system.run({ ids: prompt(2), maxNew: 10 }, { for: who });
  const device = await give("dev", { deviceMs: { amount: 1, windowMs: DAY } });
  await system.run({ ids: prompt(3), maxNew: 40 }, { for: device });
  await settled("dev");
  assert.match(
    (await failure(system.run({ ids: prompt(3), maxNew: 40 }, { for: device }))).message,
    /device-seconds per day/,
  );
});

test("calls for whom there is no budget pass without a lease", async () => {
  const who = await give("eve", { maxTokens: 100 });
  await system.run({ ids: prompt(4) }, { for: who });
  const { figures } = await person.call("scheduler.stat", {});
  assert.ok(!Object.keys(await budgets("eve")).length && figures.sequences === 0);
});

test("50 callers at once spend no token too much, though scheduler and auth are killed, and all is settled then", async () => {
  const amount = 8_000;
  const who = await give("max", { tokens: { amount, windowMs: DAY } });
  const worst = 20 + 16;
  let [computed, cut] = [0, 0];
  const caller = async (seed: number) => {
    for (let round = 0; ; round++) {
      try {
        const { output } = await system.run({ ids: prompt(seed * 31 + round), maxNew: 16 }, { for: who, ttl: 20_000 });
        computed += output.usage.computedTokens;
      } catch (error) {
        if (!isSomaError(error)) throw error;
        if (error.code === "EDQUOT") return;
        assert.ok(["ESERVICEDOWN", "EIO", "EAGAIN", "EBUSY"].includes(error.code), `${error.code}: ${error.message}`);
        cut += 1;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const callers = Promise.all(Array.from({ length: 50 }, (_, i) => caller(i)));
  while (computed < amount / 8) await new Promise((resolve) => setTimeout(resolve, 2));
  await system.kernel.kill("scheduler", system.programs.scheduler);
  system.programs.scheduler = await system.kernel.start("scheduler");
  const before = computed;
  while (computed < before + amount / 8) await new Promise((resolve) => setTimeout(resolve, 2));
  await system.kernel.kill("auth", auth);
  auth = await system.kernel.start("auth");
  await callers;
  assert.ok(cut > 0, "the kill hit calls");
  const { tokens } = await settled("max");
  assert.ok(
    computed <= tokens!.spent && tokens!.spent <= amount,
    `${computed} computed, ${tokens!.spent} of ${amount} charged`,
  );
  assert.ok(tokens!.spent - computed <= cut * worst, "besides, only what calls that were cut had set aside");
  assert.equal((await person.call("scheduler.stat", {})).figures.slices, 0);
  // What is left can be spent.
  const rest = tokens!.left;
  if (rest > 20) await system.run({ ids: prompt(5), maxNew: rest - 20 }, { for: who });
});

test.run();
