import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERVICES } from "../../kernel/abi/names.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { ps, STANDINS, System, until } from "../helpers/system.ts";

let system: System;
let client: Client;

test.before(async () => {
  system = new System(STANDINS);
  client = await system.up();
});
test.after(() => system.stop());

test("services start in the order of the table, each when the former is ready", async () => {
  const stream = client.stream("kernel.events", { tail: 100 });
  const seen: string[] = [];
  for await (const { events } of stream) {
    for (const { body } of events as { body: { what: string; service?: string } }[]) {
      if (body.what === "starting" || body.what === "ready") seen.push(`${body.service} ${body.what}`);
    }
  }
  assert.equal(
    seen,
    SERVICES.flatMap((service) => [`${service} starting`, `${service} ready`]),
  );
});

test("the process table shows everything that runs, with what it uses", async () => {
  const rows = await ps(client);
  assert.equal(
    rows.map(({ id, kind }) => `${kind} ${id}`),
    ["launcher launcher", "broker broker", "kernel kernel", ...SERVICES.map((service) => `service ${service}-1`)],
  );
  for (const { id, pid, rssBytes, cpuMs, uptimeMs } of rows) {
    assert.ok(pid! > 1 && rssBytes! > 10e6 && cpuMs! > 0 && uptimeMs > 0, id);
    assert.ok(existsSync(`/proc/${pid}`), id);
  }
  assert.is(rows[0]!.pid, system.launcher.pid);
});

test("system.json and the person's credential are there, for this user alone", async () => {
  const file = JSON.parse(readFileSync(join(system.home, "run", "system.json"), "utf8"));
  assert.is(file.pid, system.launcher.pid);
  assert.match(file.url, /^nats:\/\/127\.0\.0\.1:\d+$/);
  assert.is(statSync(join(system.home, "person.creds")).mode & 0o777, 0o600);
});

test("every call of the kernel's table is answered", async () => {
  const { version, abi, broker } = await client.call("kernel.info", {});
  assert.equal([typeof version, abi, broker.startsWith("nats-server 2.")], ["string", 1, true]);
  const { stores } = await client.call("kernel.df", {});
  assert.ok(stores.find(({ name, messages }) => name === "log" && messages > 0));
  const { state, figures } = await client.call("kernel.stat", {});
  assert.equal([state, figures.children], ["running", SERVICES.length]);
  const { actors } = await client.call("kernel.inspect", { actor: "memory-1" });
  assert.equal(
    actors[0]!.transitions.map(({ to }) => to).filter((to, i, all) => to !== all[i - 1]),
    ["idle", "starting", "ready"],
  );
  assert.not(JSON.stringify(actors).includes("SU"), "no seeds");
});

test("the log is read back by actor, level and number of lines, and followed", async () => {
  const lines = async (input: object) => {
    const stream = client.stream("kernel.log", { tail: 50, ...input } as never);
    const found: { actor: string; level: string; message: string }[] = [];
    for await (const chunk of stream) found.push(...chunk.lines);
    assert.is((await stream.result).lines, found.length);
    return found;
  };
  assert.equal(
    (await lines({ actor: "memory-1" })).map(({ message }) => message),
    ["ready"],
  );
  assert.equal(
    (await lines({ actor: "kernel", tail: 2 })).map(({ message }) => message),
    ["model-1 ready", "all services are up"],
  );
  assert.equal(await lines({ level: "error" }), []);
  const following = client.stream("kernel.log", { actor: "device-1", tail: 1, follow: true });
  const messages: string[] = [];
  for await (const chunk of following) {
    messages.push(...chunk.lines.map(({ message }) => message));
    if (messages.length === 1) void client.call("kernel.restart", { service: "device" });
    if (messages.length === 3) break;
  }
  assert.equal(messages, ["ready", "stopping", "ready"]);
});

test("a transition is published while somebody watches", async () => {
  await client.call("kernel.watch", {});
  const seen: string[] = [];
  const watching = client.bus.subscribe("evt.kernel.transition", ({ data }) => {
    seen.push(Buffer.from(data).toString("latin1"));
  });
  await client.call("kernel.restart", { service: "scheduler" });
  assert.ok(seen.some((text) => text.includes("scheduler-1") && text.includes("draining")));
  watching.unsubscribe();
});

test("a restart gives a service its next epoch and refuses a name that is none", async () => {
  const before = (await ps(client)).find(({ id }) => id === "model-1")!;
  const { instance, epoch } = await client.call("kernel.restart", { service: "model" });
  assert.equal([instance, epoch], ["model-1", before.epoch + 1]);
  const error = await client.call("kernel.restart", { service: "nothing" }).catch((caught) => caught);
  assert.is(error.code, "ENOENT");
  assert.match(error.message, "auth-1, memory-1");
});

test("an ordered stop leaves no process and no file that says it runs", async () => {
  const pids = system.processes();
  assert.ok(pids.length >= 7);
  await client.call("kernel.shutdown", {});
  assert.equal(await system.ended, [0, null]);
  // What a process had started itself is reaped by init, a little later.
  const left = () => [...system.processes(), ...pids.filter((pid) => existsSync(`/proc/${pid}`))];
  await until("no process is left", () => left().length === 0);
  assert.not.ok(existsSync(join(system.home, "run", "system.json")));
  const order = [...system.text.matchAll(/"message":"(\w+)-1 stopped"/g)].map(([, service]) => service);
  assert.equal(order, [...SERVICES].reverse());
});

test.run();
