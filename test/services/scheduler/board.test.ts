// What the board owes to apps, on a simulated device: work conserving, nobody starves, shares as weighted, nothing lost in crashes.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { POLICIES } from "../../../kernel/abi/syscalls/scheduler.ts";
import { input, Simulation } from "./simulation.ts";

for (const policy of POLICIES)
  test(`${policy}: everything ends with all its tokens, and the device is never idle before that`, () => {
    const sequences = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 40 })), {
      minLength: 1,
      maxLength: 90,
    });
    fc.assert(
      fc.property(sequences, fc.integer({ min: 30, max: 400 }), (list, blocks) => {
        const simulation = new Simulation({ blocks });
        simulation.board.policy = policy;
        for (const [i, [app, prompt, maxNew]] of list.entries()) simulation.add(`s${i}`, `app-${app}`, prompt, maxNew);
        while (simulation.board.sequences.size > 0) assert.ok(simulation.step(), "idle with work to do");
        assert.is(simulation.ended.length, list.length);
        for (const { id, newTokens } of simulation.ended) assert.is(newTokens, list[Number(id.slice(1))]![2]);
      }),
      { numRuns: 25 },
    );
  });

test("a crash at any time costs no token and repeats none in the answer", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(12), { minLength: 1, maxLength: 5 }), (crashes) => {
      const simulation = new Simulation();
      for (let i = 0; i < 6; i++) simulation.add(`s${i}`, "app", 50 + i, 60);
      let epoch = 1;
      for (const steps of crashes) {
        for (let i = 0; i < steps; i++) simulation.step();
        simulation.crash();
        simulation.place(++epoch);
      }
      while (simulation.step());
      assert.equal(
        simulation.ended.map(({ newTokens }) => newTokens),
        new Array(6).fill(60),
      );
    }),
  );
});

test("weights 1:2:4 give tokens 1:2:4 while all want more than there is", () => {
  const simulation = new Simulation({ weights: { one: 1, two: 2, four: 4 } });
  for (let i = 0; i < 100; i++) for (const app of ["one", "two", "four"]) simulation.add(`${app}${i}`, app, 20, 400);
  while (simulation.now < 8_000) simulation.step();
  const tokens = ["one", "two", "four"].map((app) => simulation.computed.get(app)!);
  const unit = tokens.reduce((a, b) => a + b) / 7;
  for (const [i, share] of [1, 2, 4].entries())
    assert.ok(Math.abs(tokens[i]! / (share * unit) - 1) < 0.05, `shares ${tokens.map((n) => (n / unit).toFixed(2))}`);
});

test("weights hold within 5 % among apps that ask again as they are answered, also where a quantum has one step", () => {
  const cases = fc.tuple(fc.integer({ min: 5, max: 80 }), fc.nat(2), fc.nat(1_000));
  fc.assert(
    fc.property(cases, ([stepMs, lag, seed]) => {
      const weights = { one: 1, two: 2, four: 4 };
      const simulation = new Simulation({ weights });
      simulation.stepMs = stepMs;
      const next = fc.sample(fc.integer({ min: 8, max: 64 }), { numRuns: 4_000, seed });
      let number = 0;
      const ask = (app: string) =>
        simulation.add(`${app}/${number}`, app, next[number++ % 4_000]!, next[number++ % 4_000]!);
      for (let i = 0; i < 96; i++) for (const app of Object.keys(weights)) ask(app);
      // Answers come back some quanta late, as over a bus.
      const answered: string[][] = Array.from({ length: lag }, () => []);
      const run = (rows: number) => {
        const sum = () => [...simulation.computed.values()].reduce((a, b) => a + b, 0);
        for (const until = sum() + rows; sum() < until; ) {
          const before = simulation.ended.length;
          simulation.step();
          answered.push(simulation.ended.slice(before).map(({ id }) => id.split("/")[0]!));
          for (const app of answered.shift()!) ask(app);
        }
      };
      run(2_000);
      const before = new Map(simulation.computed);
      run(20_000);
      const tokens = Object.keys(weights).map((app) => simulation.computed.get(app)! - before.get(app)!);
      const unit = tokens.reduce((a, b) => a + b) / 7;
      for (const [i, weight] of Object.values(weights).entries())
        assert.ok(Math.abs(tokens[i]! / (weight * unit) - 1) < 0.05, `${tokens}`);
    }),
    { numRuns: 12 },
  );
});

test("equal apps get equal shares, however many sequences each has", () => {
  const simulation = new Simulation();
  for (let i = 0; i < 400; i++) simulation.add(`flood${i}`, "flood", 20, 200);
  for (let i = 0; i < 64; i++) simulation.add(`small${i}`, "small", 20, 200);
  while (simulation.now < 4_000) simulation.step();
  const [a, b] = [simulation.computed.get("flood")!, simulation.computed.get("small")!];
  const jain = (a + b) ** 2 / (2 * (a * a + b * b));
  assert.ok(jain >= 0.98, `Jain index ${jain.toFixed(3)} for ${a} and ${b}`);
});

test("a newcomer's first token comes soon although another app floods the device", () => {
  const simulation = new Simulation();
  for (let i = 0; i < 500; i++) simulation.add(`flood${i}`, "flood", 100, 100);
  while (simulation.now < 3_000) simulation.step();
  const at = simulation.now;
  simulation.add("newcomer", "small", 20, 5);
  while (!simulation.first.has("newcomer")) simulation.step();
  // Two short quanta are in flight at most, then its own.
  assert.ok(simulation.first.get("newcomer")! - at <= 3 * 100, `${simulation.first.get("newcomer")! - at} ms`);
});

test("the quantum of a newcomer's first token is small and short, comes at once, and the next one is full again", () => {
  const { board } = new Simulation();
  const add = (id: string, app: string, ids: number) =>
    board.add(id, app, "_INBOX.model-1.x", Infinity, input(ids, 100));
  for (let i = 0; i < 50; i++) add(`flood${i}`, "flood", 16);
  const full = board.next()!.quantum;
  assert.is(full.seqs.length, 50);
  add("small", "small", 200);
  const { quantum, cut } = board.next()!;
  assert.ok(quantum.seqs.some(({ seq }) => seq === "small"));
  assert.ok(quantum.seqs.length <= 3, `${quantum.seqs.length} sequences`);
  assert.equal([cut, quantum.maxSteps], ["now", 2]);
  const seqs = full.seqs.map(({ seq }) => ({ seq, computed: 16, cached: 0, newIds: [1], finish: null }));
  board.report("device-1", "m", { quantum: full.quantum, ms: 50, steps: 1, computedTokens: 800, seqs, freeBlocks: 0 });
  add("other", "other", 16);
  // The first newcomer's quantum is over soon: it is not cut for the second one.
  const next = board.next()!;
  assert.equal([next.cut, next.quantum.seqs.some(({ seq }) => seq === "other")], [undefined, true]);
  board.report("device-1", "m", {
    ...{ quantum: quantum.quantum, ms: 5, steps: 2, computedTokens: 200, freeBlocks: 0 },
    seqs: quantum.seqs.map(({ seq }) => ({ seq, computed: 100, cached: 0, newIds: [1], finish: null })),
  });
  assert.ok(board.next()!.quantum.seqs.length > 40);
});

test("a newcomer goes first although what the flood was charged in advance for is given up", () => {
  const { board } = new Simulation();
  for (let i = 0; i < 50; i++) board.add(`flood${i}`, "flood", "_INBOX.model-1.x", Infinity, input(16, 100));
  const ahead = [board.next()!.quantum, board.next()!.quantum];
  board.add("small", "small", "_INBOX.model-1.x", Infinity, input(16, 5));
  assert.equal(board.held("small"), [{ device: "device-1", model: "m", how: "now" }]);
  for (const { quantum, seqs } of ahead) {
    const nothing = seqs.map(({ seq }) => ({ seq, computed: 0, cached: 0, newIds: [], finish: null }));
    board.report("device-1", "m", { quantum, ms: 5, steps: 0, computedTokens: 0, seqs: nothing, freeBlocks: 0 });
  }
  const { seqs } = board.next()!.quantum;
  assert.ok(seqs.length <= 3 && seqs.some(({ seq }) => seq === "small"), `${seqs.length} sequences`);
});

test("a flood's own new sequences cut only quanta that were made long, and no step", () => {
  const { board } = new Simulation();
  for (let i = 0; i < 50; i++) board.add(`flood${i}`, "flood", "_INBOX.model-1.x", Infinity, input(16, 100));
  board.next();
  board.add("more", "flood", "_INBOX.model-1.x", Infinity, input(16, 100));
  assert.is(board.next()!.cut, "step");
});

test("who idled does not come back with credit for it", () => {
  const simulation = new Simulation();
  simulation.add("early", "idler", 20, 1);
  while (simulation.step());
  for (let i = 0; i < 100; i++) simulation.add(`busy${i}`, "busy", 20, 2_000);
  while (simulation.now < 10_000) simulation.step();
  const before = { ...Object.fromEntries(simulation.computed) };
  for (let i = 0; i < 100; i++) simulation.add(`back${i}`, "idler", 20, 2_000);
  while (simulation.now < 20_000) simulation.step();
  const got = (app: string) => simulation.computed.get(app)! - (before[app] ?? 0);
  assert.ok(Math.abs(got("idler") / got("busy") - 1) < 0.1, `${got("idler")} against ${got("busy")}`);
});

test("fifo ends in order of arrival, edf by deadline, priority by urgency", () => {
  const order = (policy: (typeof POLICIES)[number]) => {
    // Blocks for one at a time.
    const simulation = new Simulation({ blocks: 3 });
    simulation.board.policy = policy;
    simulation.add("a", "app", 20, 20, { priority: 0 }, 3_000);
    simulation.add("b", "app", 20, 20, { priority: 2 }, 2_000);
    simulation.add("c", "app", 20, 20, { priority: 1 }, 1_000);
    while (simulation.step());
    return simulation.ended.map(({ id }) => id).join("");
  };
  assert.is(order("fifo"), "abc");
  assert.is(order("edf"), "cba");
  assert.is(order("priority"), "bca");
});

test("a picked order follows a change of policy while sequences wait", () => {
  const simulation = new Simulation({ blocks: 3 });
  for (const [i, id] of ["a", "b", "c", "d"].entries()) simulation.add(id, "app", 20, 20, { priority: i });
  simulation.step();
  simulation.board.policy = "priority";
  while (simulation.step());
  assert.is(simulation.ended.map(({ id }) => id).join(""), "adcb");
});

test("a canceled sequence leaves nothing behind", () => {
  const simulation = new Simulation({ blocks: 20 });
  for (let i = 0; i < 10; i++) simulation.add(`s${i}`, "app", 30, 50);
  simulation.step();
  for (let i = 0; i < 10; i++) simulation.board.remove(`s${i}`);
  assert.is(simulation.board.sequences.size, 0);
  simulation.add("last", "app", 200, 100);
  while (simulation.step());
  assert.equal(
    simulation.ended.map(({ id }) => id),
    ["last"],
    "all blocks can be had again",
  );
});

test.run();
