import { test } from "uvu";
import * as assert from "uvu/assert";
import { createActor, SimulatedClock } from "xstate";
import { type SupervisorEvent, supervisorMachine } from "../../kernel/supervisor.ts";

function supervisor(order = ["auth-1", "memory-1", "model-1"]) {
  const clock = new SimulatedClock();
  const effects: string[] = [];
  const machine = supervisorMachine({ limit: 4_500 }).provide({
    actions: {
      startChild: (_, instance) => void effects.push(`start ${instance}`),
      stopChild: (_, instance) => void effects.push(`stop ${instance}`),
      booted: () => void effects.push("booted"),
      endApps: () => void effects.push("endApps"),
      killAll: () => void effects.push("killAll"),
      finish: (_, code) => void effects.push(`finish ${code}`),
    },
  });
  const actor = createActor(machine, { clock, input: { order } });
  actor.start();
  return {
    clock,
    state: () => actor.getSnapshot().value,
    effects: () => effects.splice(0),
    send: (...events: SupervisorEvent[]) => {
      for (const event of events) actor.send(event);
    },
    boot() {
      this.send({ type: "boot" }, ...order.map((instance) => ({ type: "settled", instance }) as const));
      effects.splice(0);
    },
  };
}

const settled = (instance: string) => ({ type: "settled", instance }) as const;
const stopped = (instance: string) => ({ type: "stopped", instance }) as const;

test("children start in order, each once the former has settled", () => {
  const s = supervisor();
  s.send({ type: "boot" });
  assert.equal(s.effects(), ["start auth-1"]);
  s.send(settled("auth-1"), settled("auth-1"));
  assert.equal(s.effects(), ["start memory-1"], "one that settles twice counts once");
  s.send(stopped("memory-1"));
  assert.equal(s.effects(), ["start model-1"], "one that ended by itself does not hold up the others");
  s.send(settled("model-1"));
  assert.equal([s.state(), s.effects()], ["running", ["booted"]]);
});

test("the last may end by itself, too", () => {
  const s = supervisor(["auth-1"]);
  s.send({ type: "boot" }, stopped("auth-1"));
  assert.is(s.state(), "running");
});

test("a shutdown ends apps, then children in reverse, each once the later one has stopped", () => {
  const s = supervisor();
  s.boot();
  s.send({ type: "shutdown" });
  assert.equal(s.effects(), ["endApps", "stop model-1"]);
  s.send(stopped("auth-1"));
  assert.equal(s.effects(), [], "not its turn");
  s.send(stopped("model-1"), stopped("memory-1"));
  assert.equal(s.effects(), ["stop memory-1", "stop auth-1"]);
  s.send(stopped("auth-1"));
  assert.equal([s.state(), s.effects()], ["stopped", ["finish 0"]]);
});

test("a stop that takes too long is ended by force", () => {
  const s = supervisor();
  s.boot();
  s.send({ type: "shutdown" });
  s.effects();
  s.clock.increment(4_500);
  assert.equal([s.state(), s.effects()], ["stopped", ["killAll", "finish 0"]]);
});

test("the loss of a core child stops everything with code 1, at boot and later", () => {
  for (const boot of [true, false]) {
    const s = supervisor(["auth-1"]);
    if (boot) s.boot();
    else s.send({ type: "boot" });
    s.send({ type: "failed", instance: "auth-1" }, stopped("auth-1"));
    assert.is(s.effects().at(-1), "finish 1");
  }
});

test("one that is lost while everything stops makes the code 1", () => {
  const s = supervisor(["auth-1"]);
  s.boot();
  s.send({ type: "shutdown" }, { type: "failed", instance: "auth-1" }, stopped("auth-1"));
  assert.is(s.effects().at(-1), "finish 1");
});

test("a shutdown before or during the boot stops what there is", () => {
  const s = supervisor(["auth-1", "memory-1"]);
  s.send({ type: "boot" }, { type: "shutdown" }, stopped("memory-1"), stopped("auth-1"));
  assert.equal(s.effects(), ["start auth-1", "endApps", "stop memory-1", "stop auth-1", "finish 0"]);
  const t = supervisor(["auth-1"]);
  t.send({ type: "shutdown" }, stopped("auth-1"));
  assert.is(t.state(), "stopped");
});

test.run();
