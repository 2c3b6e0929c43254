import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createActor, SimulatedClock } from "xstate";
import { LIMITS } from "../../../kernel/abi/limits.ts";
import { keptMachine, restartDelay } from "../../../kernel/launcher/kept.ts";

function keep() {
  const clock = new SimulatedClock();
  const log: string[] = [];
  const note = (what: string) => () => void log.push(`${what}@${clock.now()}`);
  const machine = keptMachine.provide({
    actions: { start: note("start"), down: note("down"), giveUp: note("giveUp") },
  });
  const actor = createActor(machine, { clock }).start();
  const die = () => actor.send({ type: "DIED", at: clock.now() });
  return { actor, clock, log, die };
}

test("the first death restarts at once, further ones wait longer and longer", () => {
  const { actor, clock, log, die } = keep();
  for (let i = 0; i < 4; i++) {
    actor.send({ type: "UP" });
    die();
    // In small steps, since the clock fires all that is due at the end of one.
    for (let ms = 0; ms < 2_000; ms += 10) clock.increment(10);
  }
  const at = (what: string) =>
    log.filter((entry) => entry.startsWith(what)).map((entry) => Number(entry.split("@")[1]));
  const waits = at("down").map((down, i) => at("start")[i + 1]! - down);
  assert.equal(waits, [10, LIMITS.backoffFirst, 2 * LIMITS.backoffFirst, 4 * LIMITS.backoffFirst]);
});

test("a start that fails counts as a death, and too many within the period give up", () => {
  const { actor, clock, log, die } = keep();
  for (let i = 0; i < LIMITS.intensity; i++) {
    die();
    clock.increment(5_000);
  }
  assert.is(actor.getSnapshot().value, "starting");
  die();
  assert.is(actor.getSnapshot().value, "givenUp");
  assert.is(log.filter((entry) => entry.startsWith("giveUp")).length, 1);
  die();
  clock.increment(LIMITS.period);
  assert.is(actor.getSnapshot().value, "givenUp");
});

test("deaths further apart than the period allows are forgiven for ever", () => {
  const { actor, clock, die } = keep();
  for (let i = 0; i < 10 * LIMITS.intensity; i++) {
    die();
    clock.increment(LIMITS.period / LIMITS.intensity + 1);
    actor.send({ type: "UP" });
  }
  assert.is(actor.getSnapshot().value, "up");
});

test("after STOP nothing is started again, whatever comes, in any state", () => {
  const event = fc.oneof(fc.constant("UP"), fc.constant("DIED"), fc.integer({ min: 1, max: 2_000 }));
  fc.assert(
    fc.property(fc.array(event), fc.array(event), (before, after) => {
      const { actor, clock, log, die } = keep();
      const play = (events: (string | number)[]) => {
        for (const e of events)
          typeof e === "number" ? clock.increment(e) : e === "UP" ? actor.send({ type: "UP" }) : die();
      };
      play(before);
      actor.send({ type: "STOP" });
      const starts = log.length;
      play(after);
      clock.increment(2 * LIMITS.backoffMax);
      assert.is(log.length, starts);
    }),
  );
});

test("the wait never exceeds its cap", () => {
  fc.assert(fc.property(fc.nat(1_000), (n) => restartDelay(n) >= 0 && restartDelay(n) <= LIMITS.backoffMax));
});

test.run();
