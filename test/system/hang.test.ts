import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, kernelRow, ps, STANDIN, System, services, until } from "../helpers/system.ts";

let system: System;
let client: Client;

test.before(async () => {
  system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
  ]);
  client = await system.up(["auth-1", "memory-1"]);
});
test.after(() => system.stop());

const kernel = () => kernelRow(client);
/** Resolves once another kernel than `pid` answers. */
const successor = async (pid: number) => {
  await until("a new kernel answers", async () => (await kernel()).pid !== pid, system);
};

test("an adopted service that hangs is still found and replaced", async () => {
  const { pid: old } = await kernel();
  process.kill(old!, "SIGKILL");
  await successor(old!);
  const memory = await system.state(client, "memory-1", "ready");
  process.kill(memory.pid!, "SIGSTOP");
  const next = await system.state(client, "memory-1", "ready", ({ epoch }) => epoch > memory.epoch);
  assert.is(next.epoch, memory.epoch + 1);
});

test("a kernel that hangs is killed by the launcher and replaced", async () => {
  const before = services(await ps(client));
  const { pid } = await kernel();
  process.kill(pid!, "SIGSTOP");
  await successor(pid!);
  assert.equal(services(await ps(client)), before);
  assert.match(system.text, "the kernel hangs");
});

test.run();
