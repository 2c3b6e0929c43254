// Two kernels on one broker, each with a launcher and a home of its own, and services in launchers of their own, as in containers.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Site } from "../helpers/site.ts";
import { AUTH, ps, STANDIN, type System, services, until } from "../helpers/system.ts";

const SERVICES = ["auth-1", "memory-1", "scheduler-1"];
let site: Site;

test.before(async () => {
  site = await Site.start([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
    { service: "scheduler", entry: STANDIN },
  ]);
});
test.after(() => site.stop());

const running = async () => services(await ps(site.client));

test("a kernel that stands by starts nothing, answers nothing, and takes over from one that is killed: all is adopted", async () => {
  const { client } = site;
  const [first, second] = site.kernels as [System, System];
  const before = await running();
  assert.equal(
    before.map(([id]) => id),
    SERVICES,
  );
  const epoch = await site.epoch();
  let calls = 0;
  let going = true;
  const load = (async () => {
    for (; going; calls++) await client.call("memory.get", { key: "x" }, { retry: false });
  })();
  load.catch(() => {});
  site.signal(first, "SIGKILL");
  console.log(`killed: taken over after ${await site.takeover(epoch)} ms`);
  for (const id of SERVICES) await second.state(client, id, "ready");
  assert.equal(await running(), before, "same processes, same epochs");
  assert.is(await site.epoch(), epoch + 1);
  going = false;
  await load;
  assert.ok(calls > 10, `${calls} calls went through`);
});

test("a kernel that was stopped finds itself succeeded when it wakes up, writes nothing, and stands by", async () => {
  const [, second] = site.kernels as [System, System];
  await site.standingBy(site.startKernel());
  const account = () => readFileSync(join(site.world.home.keys, "account.json"), "utf8");
  const before = await running();
  const epoch = await site.epoch();
  site.signal(second, "SIGSTOP");
  console.log(`stopped: taken over after ${await site.takeover(epoch)} ms`);
  const written = account();
  site.signal(second, "SIGCONT");
  await until("the former kernel has ended", () => second.text.includes("the kernel died"), second);
  await site.standingBy(second);
  assert.is(account(), written);
  assert.equal([await site.epoch(), await running()], [epoch + 1, before]);
});

test("a kernel that is told to end hands over: services go on, and nobody waits for its lease", async () => {
  const [, second, third] = site.kernels as [System, System, System];
  const before = await running();
  const epoch = await site.epoch();
  // It hears of the other one within a moment.
  await new Promise((resolve) => setTimeout(resolve, 500));
  third.launcher.kill("SIGTERM");
  assert.equal(await third.ended, [0, null]);
  console.log(`handed over within ${await site.takeover(epoch)} ms of its end`);
  for (const id of SERVICES) await second.state(site.client, id, "ready");
  assert.equal(await running(), before);
});

test("of two launchers for a service one is active: when it is killed or stopped the other takes over, in the next epoch", async () => {
  const system = site.kernels[1]!;
  let { epoch, pid } = await system.state(site.client, "scheduler-1", "ready");
  let active = site.launchers.get("scheduler")!;
  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    const name = `spare-${signal.toLowerCase()}`;
    const spare = site.launch("scheduler", name);
    await until("it stands by", () => site.health(name) === "waiting");
    // It is heard within a beat.
    await new Promise((resolve) => setTimeout(resolve, 600));
    const began = performance.now();
    if (signal === "SIGSTOP") process.kill(pid!, signal);
    active.kill(signal);
    const next = await system.state(site.client, "scheduler-1", "ready", (row) => row.epoch! > epoch!);
    console.log(`scheduler, ${signal}: ready again after ${Math.round(performance.now() - began)} ms`);
    assert.is(next.epoch, epoch! + 1);
    if (signal === "SIGSTOP") {
      const former = pid!;
      process.kill(former, "SIGCONT");
      active.kill("SIGCONT");
      await until("the former process has ended", () => !runs(former));
    }
    ({ epoch, pid } = next);
    active = spare;
  }
});

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.run();
