// The real programs together: a job outlives the services that it needs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { until } from "../../helpers/system.ts";
import { hyper, train } from "./lines.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

/** Waits until the job's row holds. */
async function row(job: string, holds: (row: Output<"model.job">) => boolean): Promise<void> {
  await until("the job got there", async () => holds(await system.client.call("model.job", { job })));
}

test("a job whose device is killed goes on from its checkpoint by itself", async () => {
  const job = await train(system, { hyper: { ...hyper, steps: 120, evaluateEvery: 20 } });
  await row(job, ({ progress }) => (progress?.step ?? 0) > 25);
  await system.kernel.kill("device", system.programs.device);
  system.programs.device = await system.kernel.start("device");
  const { rows, end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  assert.ok(end.attempts > 1);
  const resumed = rows.find(({ attempts, progress }) => attempts > 1 && progress !== undefined);
  assert.ok(resumed!.progress!.step >= 20, String(resumed!.progress!.step));
});

test("a job outlives the model service, and so does what was acknowledged and not begun", async () => {
  const first = await train(system, { hyper: { ...hyper, steps: 100, evaluateEvery: 20 } });
  const second = await train(system, { hyper: { ...hyper, steps: 30 } });
  await row(first, ({ progress }) => (progress?.step ?? 0) > 25);
  await system.kernel.kill("model", system.programs.model);
  system.programs.model = await system.kernel.start("model");
  for (const job of [first, second]) {
    const { end } = await system.follow(job);
    assert.is(end.state, "done", end.error);
  }
});

test("an ordered stop ends those who follow at once, and counts as no crash of the job", async () => {
  const job = await train(system, { hyper: { ...hyper, steps: 100, evaluateEvery: 20 } });
  await row(job, ({ progress }) => (progress?.step ?? 0) > 25);
  const follower = system.follow(job).then(
    () => "done",
    (error: SomaError) => error.code,
  );
  const exited = new Promise<number | null>((resolve) => system.programs.model.once("exit", resolve));
  system.programs.model.kill("SIGTERM");
  assert.is(await follower, "ESERVICEDOWN");
  assert.is(await exited, 0);
  system.programs.model = await system.kernel.start("model");
  const { rows, end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  assert.ok(rows.some(({ progress }) => (progress?.step ?? 0) >= 20));
});

test.run();
