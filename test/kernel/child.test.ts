import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createActor, SimulatedClock } from "xstate";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { backoff, type ChildEvent, childMachine } from "../../kernel/child.ts";
import { type ChildSpec, loadManifest } from "../../kernel/manifest.ts";

const SPEC: ChildSpec = { ...loadManifest()[1]!, intensity: 3, period: 10_000 };
const DIED: ChildEvent & { type: "exit" } = { type: "exit", code: 1, signal: null, lines: ["boom"] };
const ENDED: ChildEvent & { type: "exit" } = { type: "exit", code: 0, signal: null, lines: [] };

/** The machine on a clock of its own, with its effects written down. */
function child(spec: Partial<ChildSpec> = {}) {
  const clock = new SimulatedClock();
  const effects: string[] = [];
  const visited: string[] = [];
  const machine = childMachine({ now: () => clock.now(), random: () => 0.5 }).provide({
    actions: {
      launch: () => void effects.push("launch"),
      signal: (_, name) => void effects.push(name),
      down: ({ context }) => void (context.registered && effects.push(`down ${context.epoch}`)),
      life: (_, what) => void visited.push(what),
      report: (_, verdict) => void effects.push(verdict),
    },
  });
  const actor = createActor(machine, { clock, input: { instance: "memory-1", spec: { ...SPEC, ...spec } } });
  actor.start();
  let epoch = 0;
  return {
    actor,
    clock,
    visited,
    state: () => String(actor.getSnapshot().value),
    context: () => actor.getSnapshot().context,
    /** Effects since the last look. */
    effects: () => effects.splice(0),
    send: (...events: ChildEvent[]) => {
      for (const event of events) actor.send(event);
    },
    /** From launched to ready. */
    comeUp() {
      epoch += 1;
      this.send({ type: "spawned", pid: 100 + epoch }, { type: "registered", epoch }, { type: "ready" });
    },
  };
}

test("a child is launched, registers with an epoch and settles when ready", () => {
  const c = child();
  c.send({ type: "start" });
  assert.is(c.state(), "starting");
  c.comeUp();
  assert.is(c.state(), "ready");
  assert.equal(c.effects(), ["launch", "settled"]);
  assert.equal([c.context().pid, c.context().epoch], [101, 1]);
});

test("the first restart comes at once, later ones after a doubling wait, and each end of an epoch is told", () => {
  const c = child();
  c.send({ type: "start" });
  c.comeUp();
  c.effects();
  c.send(DIED);
  assert.is(c.state(), "starting");
  assert.equal(c.effects(), ["down 1", "launch"]);
  c.comeUp();
  c.send(DIED);
  assert.is(c.state(), "backoff");
  assert.equal(c.effects(), ["settled", "down 2"]);
  c.clock.increment(LIMITS.backoffFirst - 1);
  assert.is(c.state(), "backoff");
  c.clock.increment(1);
  assert.is(c.state(), "starting");
  c.send(DIED);
  assert.equal(c.effects(), ["launch"], "one that never registered has no epoch to end");
  c.clock.increment(2 * LIMITS.backoffFirst - 1);
  assert.is(c.state(), "backoff");
});

test("more than `intensity` restarts within the period lead to quarantine, with a probe that must last", () => {
  const c = child();
  c.send({ type: "start" });
  for (let i = 0; i < 3; i++) {
    c.send(DIED);
    c.clock.increment(1_000);
    assert.is(c.state(), "starting");
  }
  c.send(DIED);
  assert.is(c.state(), "quarantined");
  assert.is(c.effects().at(-1), "settled", "the boot goes on without it");
  c.clock.increment(LIMITS.probe);
  assert.is(c.state(), "starting");
  c.send(DIED);
  assert.is(c.state(), "quarantined", "one crash of a probe is enough");
  c.clock.increment(LIMITS.probe);
  c.comeUp();
  c.clock.increment(SPEC.period - 1);
  c.send(DIED);
  assert.is(c.state(), "quarantined", "so is one soon after it was ready");
  c.clock.increment(LIMITS.probe);
  c.comeUp();
  c.clock.increment(SPEC.period);
  c.send(DIED);
  assert.is(c.state(), "starting", "one that lasted is trusted again");
  c.comeUp();
  c.send(DIED);
  assert.is(c.state(), "backoff", "with all its restarts");
});

test("a quiet period forgets old restarts", () => {
  const c = child();
  c.send({ type: "start" });
  for (let i = 0; i < 10; i++) {
    c.comeUp();
    c.clock.increment(SPEC.period);
    c.send(DIED);
    assert.is(c.state(), "starting");
  }
  assert.is(c.context().total, 10);
});

test("a core child that cannot be kept up is failed, and stays so", () => {
  const c = child({ core: true, intensity: 1 });
  c.send({ type: "start" }, DIED, DIED);
  assert.is(c.state(), "failed");
  assert.is(c.effects().at(-1), "failed");
  c.clock.increment(1_000_000);
  assert.is(c.state(), "failed");
  c.send({ type: "stop" });
  assert.is(c.state(), "stopped");
});

test("a transient child stays down after code 0, unless the kernel killed it; a temporary one always", () => {
  for (const [restart, exit, state] of [
    ["transient", ENDED, "stopped"],
    ["transient", DIED, "starting"],
    ["temporary", DIED, "stopped"],
    ["permanent", ENDED, "starting"],
  ] as const) {
    const c = child({ restart });
    c.send({ type: "start" });
    c.comeUp();
    c.send(exit);
    assert.is(c.state(), state, `${restart}, code ${exit.code}`);
  }
  const c = child({ restart: "transient" });
  c.send({ type: "start" });
  c.comeUp();
  c.send({ type: "condemn", reason: "it hangs" }, ENDED);
  assert.is(c.state(), "starting");
});

test("a child that is not ready in time is killed", () => {
  const c = child();
  c.send({ type: "start" });
  c.effects();
  c.clock.increment(SPEC.startTimeout);
  assert.equal(c.effects(), ["SIGKILL"]);
  assert.match(c.context().reason!, "not ready in time");
  c.send({ ...DIED, code: null, signal: "SIGKILL" });
  assert.is(c.state(), "starting");
});

test("a suspect child recovers with a beat, or is condemned and killed", () => {
  const c = child();
  c.send({ type: "start" });
  c.comeUp();
  c.send({ type: "suspect" });
  assert.is(c.state(), "suspect");
  c.send({ type: "beat" });
  assert.is(c.state(), "ready");
  const { readyAt } = c.context();
  c.effects();
  c.send({ type: "suspect" }, { type: "condemn", reason: "no heartbeat" });
  assert.equal(c.effects(), ["SIGKILL"]);
  assert.equal([c.state(), c.context().reason, c.context().readyAt], ["suspect", "no heartbeat", readyAt]);
  c.send({ ...DIED, code: null, signal: "SIGKILL" });
  assert.is(c.state(), "starting");
  assert.is(c.context().reason, undefined);
});

test("stopping asks first and kills after the shutdown time", () => {
  const c = child();
  c.send({ type: "start" });
  c.comeUp();
  c.effects();
  c.send({ type: "stop" });
  assert.is(c.state(), "draining");
  assert.equal(c.effects(), ["SIGTERM"]);
  c.clock.increment(SPEC.shutdown);
  assert.equal(c.effects(), ["SIGKILL"]);
  c.send({ ...DIED, code: null, signal: "SIGKILL" });
  assert.is(c.state(), "stopped");
  assert.equal(c.effects(), ["down 1", "stopped"]);
  c.send({ type: "stop" });
  assert.equal(c.effects(), ["stopped"], "asked again it says so again");
});

test("a restart drains and starts anew, with all restarts forgiven; a stop meanwhile wins", () => {
  const c = child();
  c.send({ type: "start" });
  c.comeUp();
  c.send(DIED);
  c.comeUp();
  c.send({ type: "restart" }, ENDED);
  assert.is(c.state(), "starting");
  assert.equal(c.context().restarts, []);
  c.comeUp();
  c.send({ type: "restart" }, { type: "stop" }, ENDED);
  assert.is(c.state(), "stopped");
  c.send({ type: "restart" });
  assert.is(c.state(), "starting");
});

test("a restart gets a child out of backoff and quarantine at once", () => {
  const c = child({ intensity: 1 });
  c.send({ type: "start" }, DIED, DIED);
  assert.is(c.state(), "quarantined");
  c.send({ type: "restart" });
  assert.is(c.state(), "starting");
  const d = child();
  d.send({ type: "start" }, DIED, DIED);
  assert.is(d.state(), "backoff");
  d.send({ type: "restart" });
  assert.is(d.state(), "starting");
});

test("an adopted child goes on in the state that it had, without a second start", () => {
  const adopt = { type: "adopt", pid: 7, epoch: 4, registered: true, ready: true, age: 500 } as const;
  const c = child();
  c.clock.increment(1_000);
  c.send(adopt);
  assert.is(c.state(), "ready");
  assert.equal(c.effects(), ["settled"]);
  assert.equal([c.context().pid, c.context().epoch, c.context().startedAt], [7, 4, 500]);
  c.send(DIED);
  assert.equal(c.effects(), ["down 4", "launch"]);
  const d = child();
  d.send({ ...adopt, registered: false, ready: false });
  assert.is(d.state(), "starting");
  d.send({ type: "registered", epoch: 5 }, { type: "ready" });
  assert.equal(d.effects(), ["settled"]);
});

test("the wait before a restart grows, has its jitter within a quarter and is capped", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (count, random) => {
        const wait = backoff(count, random);
        const nominal = count === 1 ? 0 : LIMITS.backoffFirst * 2 ** (count - 2);
        assert.ok(wait <= LIMITS.backoffMax && wait >= Math.min(LIMITS.backoffMax, nominal * 0.75));
        assert.ok(wait <= nominal * 1.25);
      },
    ),
  );
});

/** Every event that means something somewhere. */
const EVENTS: ChildEvent[] = [
  { type: "start" },
  { type: "adopt", pid: 7, epoch: 1, registered: true, ready: true, age: 0 },
  { type: "adopt", pid: 7, epoch: 1, registered: true, ready: false, age: 0 },
  { type: "spawned", pid: 8 },
  { type: "registered", epoch: 2 },
  { type: "ready" },
  { type: "suspect" },
  { type: "beat" },
  { type: "condemn", reason: "it hangs" },
  DIED,
  ENDED,
  { type: "stop" },
  { type: "restart" },
];

test("whatever comes in whatever order, there is never a second process, and every state is reached", () => {
  const reached = new Set<string>();
  // Crashes and a little time are what most lives are made of.
  const event = fc.oneof(
    { arbitrary: fc.constantFrom(...EVENTS), weight: 3 },
    { arbitrary: fc.constantFrom(...EVENTS.filter(({ type }) => type === "start" || type === "exit")), weight: 2 },
    { arbitrary: fc.integer({ min: 0, max: 2_000 }), weight: 2 },
    { arbitrary: fc.integer({ min: 0, max: 40_000 }), weight: 1 },
  );
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 40 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 2 }),
      (events, core, intensity) => {
        const c = child({ core, intensity });
        let running = 0;
        const look = () => {
          for (const effect of c.effects()) if (effect === "launch") running += 1;
          assert.ok(running <= 1, "two processes");
          reached.add(c.state());
        };
        for (const next of events) {
          if (typeof next === "number") c.clock.increment(next);
          // What the world cannot do: end without running, run twice.
          else if (next.type === "exit") {
            if (running === 0) continue;
            running = 0;
            c.send(next);
          } else if (next.type === "adopt") {
            if (running > 0 || c.state() !== "idle") continue;
            running = 1;
            c.send(next);
          } else c.send(next);
          look();
        }
        const alive = ["starting", "ready", "suspect", "draining"].includes(c.state());
        assert.is(running === 1, alive, `${running} processes in ${c.state()}`);
      },
    ),
    { numRuns: 1_000 },
  );
  const all = Object.keys(childMachine({ now: () => 0, random: () => 0 }).states);
  // `crashed` decides at once and is never rested in.
  assert.equal([...reached].sort(), all.filter((state) => state !== "crashed").sort());
});

test("one that was restarted before its turn to boot settles when the turn comes", () => {
  for (const up of ["ready", "suspect", "quarantined"]) {
    const c = child({ intensity: 0 });
    c.send({ type: "restart" });
    if (up === "quarantined") c.send(DIED);
    else c.comeUp();
    if (up === "suspect") c.send({ type: "suspect" });
    assert.is(c.state(), up);
    c.effects();
    c.send({ type: "start" });
    assert.equal([c.state(), c.effects()], [up, ["settled"]]);
  }
});

test.run();
