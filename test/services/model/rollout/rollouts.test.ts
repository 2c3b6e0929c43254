// The real programs together: a version is let through a gate or not, tried out, and taken back without a failed call.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../../kernel/abi/errors.ts";
import type { Input } from "../../../../kernel/abi/syscalls.ts";
import { train } from "../lines.ts";
import { modelFolder, startRunning } from "../running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
  // Trained on five lines, which it knows by heart.
  const { end } = await system.follow(await train(system, { deploy: "prod" }));
  assert.is(end.state, "done", end.error);
  for (const seed of [1, 2])
    await system.client.call("model.importDir", { dir: modelFolder({ seed }), name: `random${seed}` });
});
test.after(async () => {
  await system.stop();
});

const rollout = async (alias: string) =>
  (await system.client.call("model.rollouts", {})).rollouts.find((row) => row.alias === alias)!;
const ask = (model: string, key?: string) =>
  system.client.stream("model.generate", { model, prompt: "the quick", maxTokens: 4 }, key ? { key } : {}).result;

test("a gate refuses with the figure that failed, and lets through what passes", async () => {
  const gate: Input<"model.promote">["gate"] = [{ metric: "exactMatch", split: "handwritten", min: 0.9 }];
  const { checks, rollout: row } = await system.client.call("model.promote", { model: "mine", alias: "good", gate });
  assert.equal([checks[0]!.passed, checks[0]!.value, checks[0]!.cases, row.model], [true, 1, 5, "mine"]);
  const strict: typeof gate = [{ metric: "loss", split: "handwritten", max: 1e-9 }];
  const refused: SomaError = await system.client
    .call("model.promote", { model: "mine", alias: "other", gate: strict })
    .then(
      () => assert.unreachable(),
      (error) => error,
    );
  assert.is(refused.code, "EPERM");
  assert.match(refused.message, /the gate refuses mine: loss of its own .* is not <= 1e-9, 5 cases/);
  assert.is(await rollout("other"), undefined);
});

test("a canary takes its share, each key stays on its side, and both sides are compared", async () => {
  await system.client.call("model.promote", { model: "random1", alias: "live" });
  await system.client.call("model.canary", { model: "random2", alias: "live", share: 0.5, rule: { requests: 1000 } });
  const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
  const sides: string[] = [];
  for (const key of keys) sides.push((await ask("live", key)).model);
  const tried = sides.filter((model) => model === "random2").length;
  assert.ok(tried > 8 && tried < 32, `${tried} of 40`);
  assert.is((await ask("live", "k0-again")).version, 1);
  const row = await rollout("live");
  assert.equal(
    row.arms.map(({ model }) => model),
    ["random1", "random2"],
  );
  assert.is(row.arms[0]!.requests + row.arms[1]!.requests, 41);
  assert.equal(
    row.arms.map(({ failures }) => failures),
    [0, 0],
  );
  assert.ok(row.arms[1]!.tokenMs![1] > 0);
});

test("one app alone can be given the canary", async () => {
  await system.client.call("model.canary", { model: "random2", alias: "live", share: 0, apps: ["person"] });
  assert.is((await ask("live")).model, "random2");
  await system.client.call("model.canary", { model: "random2", alias: "live", share: 0, apps: ["somebody"] });
  assert.is((await ask("live")).model, "random1");
});

test("a rule promotes by itself, and a rollback takes less than a second and fails no call", async () => {
  await system.client.call("model.canary", {
    ...{ model: "random2", alias: "live", share: 1 },
    rule: { requests: 5, promoteAfter: 10 },
  });
  for (let i = 0; i < 10; i++) await ask("live");
  for (let i = 0; (await rollout("live")).model !== "random2"; i++) {
    assert.ok(i < 50, "it is promoted");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.match((await rollout("live")).last!.why, /10 requests, 0\.0 % failed/);
  let asking = true;
  const answers: string[] = [];
  const callers = Array.from({ length: 4 }, async () => {
    while (asking) answers.push((await ask("live")).model);
  });
  const began = performance.now();
  const back = await system.client.call("model.rollback", { alias: "live" });
  const ms = performance.now() - began;
  const first = (await ask("live")).model;
  asking = false;
  await Promise.all(callers);
  assert.equal([back.model, back.previous, first], ["random1", "random2@1", "random1"]);
  // The goal is 1 s; loaded machines are given ten times that.
  assert.ok(ms < 10_000, `${ms} ms`);
  assert.ok(answers.length > 0);
});

test("what cannot be gone back to, or is there already, is refused", async () => {
  const failure = async (call: Promise<unknown>) => (await call.catch((error) => error)) as SomaError;
  assert.match(
    (await failure(system.client.call("model.rollback", { alias: "good" }))).message,
    /never pointed at another/,
  );
  assert.match(
    (await failure(system.client.call("model.rollback", { alias: "none" }))).message,
    /no alias "none": there are/,
  );
  const same = { model: "random1", alias: "live" };
  assert.match((await failure(system.client.call("model.canary", same))).message, /is random1@1 already/);
});

test.run();
