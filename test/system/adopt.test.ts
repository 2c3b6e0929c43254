import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, ECHO, kernelRow, ps, STANDIN, System, services, until } from "../helpers/system.ts";

let system: System;
let client: Client;

test.before(async () => {
  system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
    { service: "device", entry: STANDIN },
  ]);
  client = await system.up(["auth-1", "memory-1", "device-1"]);
});
test.after(() => system.stop());

const kernel = () => kernelRow(client);
/** Resolves once another kernel than `pid` answers. */
const successor = async (pid: number) => {
  await until("a new kernel answers", async () => (await kernel()).pid !== pid, system);
};

test("a kernel that is killed is replaced and adopts what runs: no double start, no failed call", async () => {
  const before = await ps(client);
  const { pid, epoch } = before.find(({ id }) => id === "kernel")!;
  const detached = client.stream("kernel.spawn", { app: ECHO, args: ["stay"], detached: true });
  const { id } = await detached.result;
  const attached = client.stream("kernel.spawn", { app: ECHO, args: ["stay"] });
  await attached.accepted;
  await until("both apps run", async () => (await ps(client)).filter(({ state }) => state === "running").length === 2);
  const apps = (await ps(client)).filter(({ kind }) => kind === "app").map(({ id, pid }) => [id, pid]);
  let calls = 0;
  let going = true;
  const load = (async () => {
    for (; going; calls++) await client.call("memory.get", { key: "x" }, { retry: false });
  })();
  load.catch(() => {});
  process.kill(pid!, "SIGKILL");
  await successor(pid!);
  const lost = await attached.result.catch((error) => error);
  assert.is(lost.code, "ESERVICEDOWN", "whoever waited for the old kernel hears of it");
  for (const instance of ["auth-1", "memory-1", "device-1"]) await system.state(client, instance, "ready");
  const after = await ps(client);
  assert.equal(services(after), services(before));
  assert.is((await kernel()).epoch, epoch + 1);
  assert.equal(
    after.filter(({ kind }) => kind === "app").map(({ id, pid }) => [id, pid]),
    apps,
  );
  going = false;
  await load;
  assert.ok(calls > 10, `${calls} calls went through`);
  for (const [holder] of apps) await client.call("kernel.kill", { id: holder as string });
  await until("the apps have ended", async () => (await ps(client)).every(({ kind }) => kind !== "app"));
  assert.ok(apps.some(([holder]) => holder === id));
});

test("what died while no kernel was there is told and replaced", async () => {
  const rows = await ps(client);
  const { pid } = rows.find(({ id }) => id === "kernel")!;
  const device = rows.find(({ id }) => id === "device-1")!;
  const downs: string[] = [];
  client.bus.subscribe("evt.kernel.down.device.>", ({ subject }) => void downs.push(subject));
  await client.bus.flush();
  // Stopped first, so that the kernel cannot see the death of its child.
  process.kill(pid!, "SIGSTOP");
  process.kill(device.pid!, "SIGKILL");
  process.kill(pid!, "SIGKILL");
  await successor(pid!);
  const now = await system.state(client, "device-1", "ready");
  assert.is(now.epoch, device.epoch + 1);
  assert.equal(downs, [`evt.kernel.down.device.device-1.${device.epoch}`]);
});

test("a kernel that is killed while services start goes on from where they are", async () => {
  const before = await system.state(client, "device-1", "ready");
  const { pid } = await kernel();
  void client.call("kernel.restart", { service: "device" }).catch(() => {});
  await system.state(client, "device-1", "starting", ({ pid }) => pid !== undefined);
  process.kill(pid!, "SIGKILL");
  await successor(pid!);
  const after = await system.state(client, "device-1", "ready");
  assert.is(after.epoch, before.epoch + 1, "started once");
});

test.run();
