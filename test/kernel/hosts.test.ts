import { test } from "uvu";
import * as assert from "uvu/assert";
import { Hosts } from "../../kernel/hosts.ts";
import type { Bus, Message } from "../../kernel/ipc/bus.ts";
import type { HostOrder, HostReport } from "../../kernel/launcher/protocol.ts";
import { type ChildSpec, loadManifest } from "../../kernel/manifest.ts";

const elsewhere = loadManifest("deploy/containers.json");
const NOTHING_RAN: HostReport = { type: "here", hostname: "box", took: 0, children: [] };

/** Hosts on a bus and a clock that the test holds in its hand. */
function setUp(specs: readonly ChildSpec[] = elsewhere) {
  const sent: { subject: string; n: number; order: HostOrder["order"] }[] = [];
  const said: string[] = [];
  let hear: ((message: Message) => void) | undefined;
  const bus = {
    connected: true,
    subscribe: (_subject: string, handler: (message: Message) => void) => {
      hear = handler;
    },
    publish: (subject: string, data: Uint8Array) => {
      sent.push({ subject, ...(JSON.parse(Buffer.from(data).toString()) as HostOrder) });
    },
  };
  let time = 0;
  const hosts = new Hosts(bus as never as Bus, specs, () => time);
  hosts.on("attached", (instance, _spec, process) => said.push(`attached ${instance} ${process?.pid ?? "idle"}`));
  hosts.on("detached", (instance, why) => said.push(`detached ${instance}: ${why}`));
  hosts.on("started", ({ id, pid }) => said.push(`started ${id} ${pid}`));
  hosts.on("exited", ({ id, lines }) => said.push(`exited ${id}: ${lines.join()}`));
  return {
    hosts,
    sent,
    said,
    bus,
    report: (service: string, id: string, report: HostReport) =>
      hear?.({
        subject: `launch.${service}.${id}.report`,
        data: Buffer.from(JSON.stringify(report)),
      } as never as Message),
    /** Lets time pass, looking around four times a second. */
    pass(ms: number) {
      for (const end = time + ms; time < end; ) {
        time += 250;
        hosts.tick(bus.connected, 0);
      }
    },
  };
}

test("launchers get the instances of their service in turn; who finds none stands by", () => {
  const { hosts, said, report } = setUp();
  report("device", "device-a", NOTHING_RAN);
  report("device", "device-b", { ...NOTHING_RAN, hostname: "other" });
  report("memory", "memory-a", NOTHING_RAN);
  report("memory", "memory-b", NOTHING_RAN);
  assert.equal(said, ["attached device-1 idle", "attached device-2 idle", "attached memory-1 idle"]);
  assert.is(hosts.where("device-2"), "other");
  assert.is(hosts.where("device-3"), undefined);
  assert.equal(
    ["device", "model"].map((service) => hosts.serves(service)),
    [true, false],
  );
});

test("who stands by takes over from one that leaves", () => {
  const { said, report } = setUp();
  report("memory", "memory-a", NOTHING_RAN);
  report("memory", "memory-b", NOTHING_RAN);
  report("memory", "memory-a", { type: "leaving" });
  assert.equal(said.slice(1), ["detached memory-1: its container box stops", "attached memory-1 idle"]);
});

test("a fresh kernel adopts what a launcher runs already", () => {
  const { said, report } = setUp();
  const children = [{ id: "device-2", pid: 7, startedAt: 1 }];
  report("device", "device-a", { ...NOTHING_RAN, took: 5, children });
  assert.equal(said, ["attached device-2 7"]);
});

test("an order that was lost is sent again until a beat says that it was taken", () => {
  const { hosts, sent, report } = setUp();
  report("memory", "memory-a", NOTHING_RAN);
  hosts.kill("memory-1", "SIGTERM");
  report("memory", "memory-a", NOTHING_RAN);
  report("memory", "memory-a", { ...NOTHING_RAN, took: 1 });
  report("memory", "memory-a", { ...NOTHING_RAN, took: 1 });
  const order = { type: "kill", id: "memory-1", signal: "SIGTERM" };
  const once = { subject: "launch.memory.memory-a.order", n: 1, order };
  assert.equal(sent, [once, once]);
});

test("a start or an exit whose report was lost is seen in the next beat", () => {
  const { said, report } = setUp();
  report("memory", "memory-a", NOTHING_RAN);
  report("memory", "memory-a", { ...NOTHING_RAN, children: [{ id: "memory-1", pid: 9, startedAt: 1 }] });
  report("memory", "memory-a", NOTHING_RAN);
  assert.equal(said.slice(1), ["started memory-1 9", "exited memory-1: it ended while the broker was away"]);
});

test("a start that is refused has failed; a signal that came too late has not", () => {
  const { said, report } = setUp();
  report("memory", "memory-a", NOTHING_RAN);
  report("memory", "memory-a", { type: "refused", order: "kill", reason: "it does not run" });
  report("memory", "memory-a", { type: "refused", order: "start", reason: "no such file" });
  assert.equal(said.slice(1), ["exited memory-1: no such file"]);
});

test("a silent launcher is gone after 3 s, after 1.2 s when its connection was lost, and not while the broker is away", () => {
  const { hosts, bus, said, report, pass } = setUp();
  report("memory", "memory-a", NOTHING_RAN);
  report("device", "device-a", NOTHING_RAN);
  bus.connected = false;
  pass(60_000);
  bus.connected = true;
  assert.is(said.length, 2);
  hosts.doubt("device-a");
  pass(1_000);
  assert.is(said.length, 2);
  pass(500);
  assert.equal(said.slice(2), ["detached device-1: its container box is silent"]);
  pass(1_000);
  assert.is(said.length, 3);
  pass(1_000);
  assert.equal(said.slice(3), ["detached memory-1: its container box is silent"]);
});

test("where every service runs here, nothing is listened to", () => {
  const { hosts, said, sent, report, pass } = setUp([]);
  report("memory", "memory-a", NOTHING_RAN);
  hosts.kill("memory-1", "SIGTERM");
  pass(10_000);
  assert.equal([...said, ...sent], []);
});

test.run();
