import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createActor } from "xstate";
import { TENURE, type TenureEvent, tenureMachine } from "../../kernel/tenure.ts";

function kernel(at = 0) {
  const effects: string[] = [];
  const actor = createActor(
    tenureMachine.provide({
      actions: {
        look: () => void effects.push("look"),
        write: (_, revision) => void effects.push(`write ${revision}`),
        won: () => void effects.push("won"),
        lost: () => void effects.push("lost"),
      },
    }),
    { input: { at } },
  ).start();
  return {
    effects: () => effects.splice(0),
    state: () => JSON.stringify(actor.getSnapshot().value),
    since: () => actor.getSnapshot().context.since,
    holds: () => typeof actor.getSnapshot().value === "object",
    /** Without taking the effects. */
    push: (event: TenureEvent) => actor.send(event),
    send(...events: TenureEvent[]) {
      for (const event of events) actor.send(event);
      return effects.splice(0);
    },
  };
}
const seen = (revision: number, at: number, ours = false): TenureEvent => ({ type: "SEEN", revision, ours, at });
const written = (revision: number, at: number): TenureEvent => ({ type: "WRITTEN", revision, at });
const tick = (at: number): TenureEvent => ({ type: "TICK", at });

function holder() {
  const one = kernel();
  one.send(seen(0, 0), written(5, 10));
  one.effects();
  return one;
}

test("a lease that nobody has is taken at once, and so is one of a former kernel of this launcher", () => {
  const first = kernel();
  assert.equal(first.send(tick(0), seen(0, 0)), ["look", "write 0"]);
  assert.equal(first.send(written(1, 0)), ["won"]);
  assert.equal(kernel().send(seen(7, 0, true)), ["write 7"]);
});

test("a stand-by takes a lease that did not change for as long as it says, counted from when it saw it", () => {
  const one = kernel();
  one.send(seen(7, 1_000), seen(8, 2_000));
  assert.equal(one.send(seen(8, 2_000 + TENURE.take - 1)), []);
  assert.equal(one.send(seen(8, 2_000 + TENURE.take)), ["write 8"]);
});

test("one that cannot see the lease concludes nothing from that, nor one that was refused", () => {
  const one = kernel();
  one.send(seen(7, 0), { type: "FAILED", at: 1_900 });
  assert.equal(one.send(seen(7, TENURE.take + 100)), []);
  assert.equal(one.send(seen(7, 1_900 + TENURE.take)), ["write 7"]);
  one.send({ type: "REFUSED", at: 4_000 });
  assert.is(one.state(), '"standby"');
  assert.equal(one.send(seen(8, 4_100), seen(8, 4_050 + TENURE.take)), []);
});

test("a holder writes at each tick; one that cannot is in doubt, and sure again when a write succeeds", () => {
  const one = holder();
  assert.equal(one.send(tick(400)), ["write 5"]);
  one.send(written(6, 400));
  one.send({ type: "FAILED", at: 800 }, tick(400 + TENURE.doubt));
  assert.is(one.state(), '{"holding":"doubtful"}');
  assert.equal(one.send(tick(9_000)), ["write 6"]);
  one.send(written(7, 9_000));
  assert.is(one.state(), '{"holding":"sure"}');
});

test("a holder that is refused looks: it goes on after a late write of its own, and ends when another has the lease", () => {
  const one = holder();
  assert.equal(one.send({ type: "REFUSED", at: 500 }), ["look"]);
  assert.equal(one.send(seen(6, 510, true), tick(600)), ["write 6"]);
  one.send({ type: "REFUSED", at: 700 });
  assert.equal(one.send(seen(9, 710)), ["lost"]);
});

// Two kernels, a store that compares revisions, messages that take their time, stops of any length.
test("whatever is delayed, failed or stopped, at most one kernel is within its time", () => {
  const step = fc.record({
    who: fc.nat(1),
    what: fc.constantFrom("tick", "tick", "tick", "fail", "stop"),
    wait: fc.integer({ min: 0, max: 600 }),
    stop: fc.integer({ min: 500, max: 5_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let now = 0;
      let lease = { revision: 0, by: -1 };
      const stoppedUntil = [0, 0];
      const both = [kernel(), kernel()];
      const answer = (who: number, fails: boolean) => {
        for (let effect = both[who]!.effects(); effect.length > 0; effect = both[who]!.effects()) {
          const [name, known] = effect[0]!.split(" ");
          const at = now;
          // The store is reached later than the write is begun.
          now += 20;
          if (fails && name !== "won" && name !== "lost") both[who]!.push({ type: "FAILED", at: now });
          else if (name === "look") both[who]!.push(seen(lease.revision, now, lease.by === who));
          else if (name === "write" && Number(known) !== lease.revision) both[who]!.push({ type: "REFUSED", at: now });
          else if (name === "write") {
            lease = { revision: lease.revision + 1, by: who };
            both[who]!.push(written(lease.revision, at));
          }
        }
      };
      for (const { who, what, wait, stop } of steps) {
        now += wait;
        if (what === "stop") stoppedUntil[who] = now + stop;
        if (now < stoppedUntil[who]!) continue;
        both[who]!.push(tick(now));
        answer(who, what === "fail");
        const within = both.filter((one) => one.holds() && now - one.since() < TENURE.doubt);
        assert.ok(within.length <= 1);
      }
    }),
    { numRuns: 500 },
  );
});

test.run();
