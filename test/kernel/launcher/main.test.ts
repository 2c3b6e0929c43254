import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { startOf } from "../../../kernel/launcher/lock.ts";
import { within } from "../broker/harness.ts";
import { checkBroker, gone, KERNEL, Machine, processesOf, start, withMachine } from "./machine.ts";

test("the kernel orders, the launcher starts, kills and reports; stop ends all with the kernel's code", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const broker = await kernel.next("broker");
    assert.is(broker.state, "up");
    assert.is(readFileSync(join(machine.home, "run", "url"), "utf8").trim(), broker.url);
    assert.is(Number(readFileSync(join(machine.home, "run", "pid"), "utf8")), machine.process.pid);
    kernel.order(start("a", "wait"));
    const { pid } = await kernel.next("started");
    kernel.order({ type: "list" });
    assert.equal(
      (await kernel.next("children")).children.map((child) => [child.id, child.pid]),
      [["a", pid]],
    );
    kernel.order({ type: "kill", id: "a", signal: "SIGKILL" });
    assert.equal(await kernel.next("exited").then(({ id, signal }) => [id, signal]), ["a", "SIGKILL"]);
    kernel.order({ type: "nonsense" } as never);
    assert.match((await kernel.next("refused")).reason, "no order is called nonsense");
    kernel.order({ type: "stop", code: 42 });
    assert.equal(await within("the exit", machine.exit), [42, null]);
    assert.match(machine.text, "test kernel");
    assert.not(existsSync(join(machine.home, "run", "pid")));
  }));

test("a kernel that is killed is replaced; its siblings run on untouched and are there to adopt", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    kernel.order(start("a", "wait"));
    const { pid } = await kernel.next("started");
    const since = startOf(pid);
    process.kill(kernel.pid, "SIGKILL");
    await gone([kernel.pid]);
    const next = await machine.kernel();
    assert.is.not(next.pid, kernel.pid);
    assert.is((await next.next("broker")).state, "up");
    next.order({ type: "list" });
    assert.equal(
      (await next.next("children")).children.map((child) => child.pid),
      [pid],
    );
    assert.is(startOf(pid), since);
    next.order({ type: "kill", id: "a", signal: "SIGTERM" });
    assert.is((await next.next("exited")).signal, "SIGTERM", "the new kernel owns the old one's children");
  }));

test("a broker that is killed comes back on the same port, and the kernel hears of both", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const { url } = await kernel.next("broker");
    const server = processesOf(machine.home).find((pid) =>
      readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("nats-server"),
    )!;
    process.kill(server, "SIGKILL");
    const down = await kernel.next("broker");
    assert.equal([down.state, down.url, down.pid], ["down", url, server]);
    const up = await kernel.next("broker");
    assert.equal([up.state, up.url], ["up", url]);
    assert.ok(up.pid !== server && up.startedAt > down.startedAt);
    await checkBroker(machine.home, url);
  }));

test("a second launcher on the same home says in one line who runs there and how to attach", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const second = new Machine(machine.home);
    assert.equal(await within("the exit", second.exit), [1, null]);
    assert.match(second.text, new RegExp(`^soma: runs already as process ${machine.process.pid} .*attach.*\n$`));
    kernel.order({ type: "list" });
    await kernel.next("children");
  }));

test("with NATS_URL no broker is started and the kernel is told that one", () =>
  withMachine(
    async (machine) => {
      const kernel = await machine.kernel();
      const { state, url, pid } = await kernel.next("broker");
      assert.equal([state, url, pid], ["up", "nats://127.0.0.1:1", undefined]);
      assert.not(existsSync(join(machine.home, "log", "broker.log")));
      kernel.order({ type: "stop", code: 0 });
      assert.equal(await within("the exit", machine.exit), [0, null]);
    },
    KERNEL,
    { NATS_URL: "nats://127.0.0.1:1" },
  ));

test.run();
