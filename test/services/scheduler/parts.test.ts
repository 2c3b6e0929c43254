// Owns the tests of devices cut into parts: shares of device time by virtual time, quotas of blocks, pins; on the board with a simulated clock.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Division } from "../../../services/scheduler/parts.ts";
import { Simulation } from "./simulation.ts";

const cut = (name: string, share: number, memory = share) => ({ name, share, memory });
const two = (a: number) => [cut("a", a), cut("b", 1 - a)];

/** Keeps both parts wanting more than there is; returns the share of device time that `a` got over `ms`. */
function shareOfA(simulation: Simulation, ms: number, wants = ["a", "b"]): number {
  const used = () => simulation.board.slots.rows().map(({ usedMs }) => usedMs);
  const before = used();
  const until = simulation.now + ms;
  while (simulation.now < until) {
    for (const part of wants)
      for (let i = 0; i < 8; i++) {
        const id = `${part}${i}-${simulation.now}`;
        if ([...simulation.board.sequences.values()].filter((one) => one.id.startsWith(part)).length < 8)
          simulation.add(id, "app", 20 + i, 60, { device: part });
      }
    assert.ok(simulation.step(), "idle with work to do");
  }
  const got = used().map((ms, i) => ms - before[i]!);
  return got[0]! / got.reduce((a, b) => a + b);
}

test("parts that always want something get time by their shares, whatever their quanta take", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 10, max: 90 }),
      fc.array(fc.tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 250 })), {
        minLength: 300,
        maxLength: 300,
      }),
      (percent, takes) => {
        const division = new Division();
        division.cut(two(percent / 100));
        const flying: ReturnType<Division["hand"]>[] = [];
        for (const [ofA, ofB] of takes) {
          while (flying.length < 2) {
            const [next] = [...division.parts].sort((x, y) => x.virtual - y.virtual);
            flying.push(division.hand(next!, () => true));
          }
          const one = flying.shift()!;
          division.settle(one, one.part.name === "a" ? ofA : ofB);
        }
        const [a, b] = division.parts;
        // As far apart as two quanta in flight, in virtual time of the smaller share.
        const most = (2 * 250) / Math.min(a!.share, b!.share);
        assert.ok(Math.abs(a!.usedMs / a!.share - b!.usedMs / b!.share) <= most, `${a!.usedMs} and ${b!.usedMs} ms`);
      },
    ),
  );
});

test("70% and 30% hold while both want more, follow a resize while they run, and an idle part's time goes to the other", () => {
  const simulation = new Simulation();
  simulation.board.cut("device-1", two(0.7));
  assert.ok(Math.abs(shareOfA(simulation, 10_000) - 0.7) < 0.02);
  simulation.board.cut("device-1", two(0.3));
  assert.ok(Math.abs(shareOfA(simulation, 10_000) - 0.3) < 0.02);
  while (simulation.step());
  assert.is(shareOfA(simulation, 5_000, ["a"]), 1);
  // What a took alone is not held against it, nor is b owed it.
  assert.ok(Math.abs(shareOfA(simulation, 10_000) - 0.3) < 0.03);
});

test("a part's sequences never hold more blocks than its quota, however it is cut, and nothing is lost", () => {
  const resize = fc.record({ at: fc.nat(30), a: fc.integer({ min: 30, max: 70 }), merge: fc.boolean() });
  fc.assert(
    fc.property(fc.array(resize, { maxLength: 6 }), (cuts) => {
      const simulation = new Simulation({ blocks: 100 });
      simulation.board.cut("device-1", two(0.5));
      for (let i = 0; i < 40; i++)
        simulation.add(`s${i}`, `app-${i % 3}`, 100, 150, i % 3 === 0 ? {} : { device: i % 3 === 1 ? "a" : "b" });
      for (const { at, a, merge } of cuts) {
        for (let i = 0; i < at; i++) simulation.step();
        const { park, stranded } = simulation.board.cut("device-1", merge ? [] : two(a / 100));
        assert.equal(stranded, []);
        for (const { id } of park) simulation.aside(id);
        for (const { blocks, leased, part } of simulation.board.slots.rows())
          assert.ok(leased <= blocks, `${part}: ${leased} of ${blocks} blocks`);
        assert.is(simulation.board.slots.rows().length, merge ? 1 : 2);
      }
      while (simulation.step())
        for (const { blocks, leased } of simulation.board.slots.rows()) assert.ok(leased <= blocks);
      assert.is(simulation.ended.length, 40);
      for (const { newTokens } of simulation.ended) assert.is(newTokens, 150);
      for (const { leased } of simulation.board.slots.rows()) assert.is(leased, 0);
    }),
    { numRuns: 40 },
  );
});

test("what a smaller quota has no room for ever is named, so that it can be refused", () => {
  const simulation = new Simulation({ blocks: 100 });
  simulation.board.cut("device-1", two(0.5));
  simulation.add("large", "app", 500, 200, { device: "a" });
  simulation.step();
  assert.is(simulation.board.capacity("m", "device-1/a"), 50);
  const { stranded } = simulation.board.cut("device-1", two(0.2));
  assert.equal(
    stranded.map(({ id }) => id),
    ["large"],
  );
});

test("why names the part, its share and its quota", () => {
  const simulation = new Simulation({ blocks: 100 });
  simulation.board.cut("device-1", two(0.7));
  for (let i = 0; i < 4; i++) simulation.add(`s${i}`, "app", 200, 200, { device: "b" });
  simulation.step();
  simulation.step();
  const [runs, waits] = ["s0", "s3"].map((id) => simulation.board.why(simulation.board.sequences.get(id)!));
  assert.match(runs!, /runs on device-1\/b \(30% of device-1\)/);
  assert.match(waits!, /device-1\/b has had 100% of the time of device-1, and is due 30%/);
  assert.match(waits!, /memory is short by \d+ KV blocks.*quota of its part, 30 of 100/);
});

test("names of devices and parts resolve, and what is wrong is said", () => {
  const { board } = new Simulation();
  board.cut("device-1", two(0.7));
  for (const [name, full] of [
    ["cpu0", "device-1"],
    ["device-1", "device-1"],
    ["a", "device-1/a"],
    ["cpu0/b", "device-1/b"],
  ])
    assert.is(board.slots.resolve(name!), full);
  assert.throws(() => board.slots.resolve("c"), /no device "c"/);
  assert.throws(() => board.cut("device-1", [cut("a", 0.7), cut("b", 0.2)]), /add up to 90%/);
  assert.throws(() => board.cut("device-1", [cut("a", 0.5, 0.9), cut("b", 0.5, 0.2)]), /110%/);
  assert.throws(() => board.cut("device-1", [cut("a", 0.5), cut("a", 0.5)]), /same name/);
  assert.throws(() => board.cut("device-1", [cut("cpu0", 1)]), /whole device's name/);
});

test.run();
