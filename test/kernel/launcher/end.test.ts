import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { startOf } from "../../../kernel/launcher/lock.ts";
import type { StartOrder } from "../../../kernel/launcher/protocol.ts";
import { within } from "../broker/harness.ts";
import { checkBroker, gone, Machine, processesOf, start, withMachine } from "./machine.ts";

test("kill -9 of the launcher leaves no process behind, and the home can be used again", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    for (const mode of ["wait", "stubborn", "busy"]) {
      kernel.order({ ...(start(mode, mode) as StartOrder), env: { SOMA_HOME: machine.home } });
    }
    for (let i = 0; i < 3; i++) await kernel.next("started");
    // Launcher, broker, kernel, three children, and the compilers that tsx started.
    assert.ok(processesOf(machine.home).length >= 6);
    machine.process.kill("SIGKILL");
    await within("the exit", machine.exit);
    await gone(processesOf(machine.home));
    assert.equal(processesOf(machine.home), []);
    const again = new Machine(machine.home);
    const next = await again.kernel();
    next.order({ type: "stop", code: 0 });
    assert.equal(await within("the exit", again.exit), [0, null]);
  }));

test("Ctrl-C reaches the launcher alone: the kernel is asked first, the broker goes last", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    const { url } = await kernel.next("broker");
    kernel.order(start("a", "wait"));
    await kernel.next("started");
    // A terminal signals the whole foreground group.
    process.kill(-machine.process.pid!, "SIGINT");
    await kernel.next("shutdown");
    kernel.order({ type: "kill", id: "a", signal: "SIGTERM" });
    assert.is((await kernel.next("exited")).signal, "SIGTERM", "the child ran until the kernel ended it");
    await checkBroker(machine.home, url);
    kernel.order({ type: "stop", code: 0 });
    assert.equal(await within("the exit", machine.exit), [0, null]);
    assert.match(readFileSync(join(machine.home, "log", "broker.log"), "utf8"), "Server Exiting");
  }));

test("a second Ctrl-C does not wait for the kernel", () =>
  withMachine(async (machine) => {
    const kernel = await machine.kernel();
    kernel.order(start("a", "stubborn"));
    const { pid } = await kernel.next("started");
    machine.process.kill("SIGINT");
    machine.process.kill("SIGTERM");
    await kernel.next("shutdown");
    kernel.order({ type: "list" });
    assert.is((await kernel.next("children")).children.length, 1, "what comes with the first is not a second");
    await sleep(600); // Longer than one Ctrl-C may take to arrive twice.
    machine.process.kill("SIGINT");
    assert.equal(await within("the exit", machine.exit), [1, null]);
    assert.match(machine.text, "interrupted again");
    assert.is(startOf(pid), undefined);
  }));

test("a kernel that keeps failing is given up: everything stops with exit 1 and its last words", () =>
  withMachine(async (machine) => {
    assert.equal(await within("the exit", machine.exit), [1, null]);
    assert.match(machine.text, /no\/such\/kernel\.ts/);
    assert.match(machine.text, "the kernel keeps failing: stopping everything");
    assert.is(machine.text.match(/the kernel died/g)?.length, 6);
  }, "no/such/kernel.ts"));

test.run();
