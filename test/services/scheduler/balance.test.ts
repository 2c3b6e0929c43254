// Owns the tests of the board with several devices: work is spread, prefixes stay together, devices come, go and are drained.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Board, type Report } from "../../../services/scheduler/board.ts";
import type { Handover } from "../../../services/scheduler/handover.ts";
import { input } from "./simulation.ts";

const fixed = { model: "m", blocks: 1_000, blockBytes: 1, context: 4096, numerics: "sim" };

/** A board with devices that compute only when the test says so. */
function start(devices: number) {
  const board = new Board(() => 0);
  const handed: Handover[] = [];
  const place = (n: number, epoch = 1) => board.place({ device: `device-${n}`, epoch, ...fixed });
  for (let n = 1; n <= devices; n++) place(n);
  let added = 0;
  const add = (prompt: number[], maxNew = 200, app = "app") => {
    const id = `s${added++}`;
    board.add(id, app, `_INBOX.model-1.${id}`, Infinity, { ...input(1, maxNew), ids: prompt });
    return id;
  };
  const pump = () => {
    const fresh: Handover[] = [];
    for (let next = board.next(); next !== undefined; next = board.next()) fresh.push(next);
    handed.push(...fresh);
    return fresh;
  };
  /** The oldest quantum of a device comes back: each sequence made so many tokens. */
  const finish = (device: string, made = 8) => {
    const [one] = handed.splice(
      handed.findIndex((other) => other.device === device),
      1,
    );
    const seqs = one!.quantum.seqs.map(({ seq }) => {
      const there = board.sequences.get(seq)!;
      const newIds = Array.from({ length: Math.min(made, there.input.maxNew - there.newIds.length) }, (_, i) => i);
      const finish = there.newIds.length + newIds.length >= there.input.maxNew ? ("length" as const) : null;
      return {
        seq,
        computed: there.input.ids.length - Math.min(there.computed, there.input.ids.length) + newIds.length,
        cached: 0,
        newIds,
        finish,
      };
    });
    const computedTokens = seqs.reduce((sum, { computed }) => sum + computed, 0);
    const report: Report = {
      quantum: one!.quantum.quantum,
      ms: computedTokens,
      steps: made,
      computedTokens,
      seqs,
      freeBlocks: 0,
    };
    return board.report(device, "m", report);
  };
  const on = (device: string) =>
    [...board.sequences.values()].filter((one) => one.device === device).map(({ id }) => id);
  return { board, add, pump, finish, place, on, handed };
}

const prompt = (seed: number, length = 64) => Array.from({ length }, (_, i) => i * 7 + seed * 1_000);

test("sequences that come at once are spread over devices, not sent to the first that is free", () => {
  const { add, pump, on } = start(2);
  for (let i = 0; i < 10; i++) add(prompt(i));
  pump();
  assert.is(on("device-1").length, 5);
  assert.is(on("device-2").length, 5);
});

test("a device that is twice as slow gets half as much", () => {
  const { board, add, pump, finish, on } = start(2);
  add(prompt(0), 8);
  add(prompt(1), 8);
  pump();
  // device-2 needs twice the time for a row.
  finish("device-1");
  for (const { id } of [...board.sequences.values()]) board.remove(id);
  const report = { quantum: "q2", ms: 144, steps: 8, computedTokens: 72, seqs: [], freeBlocks: 0 };
  board.report("device-2", "m", report);
  for (let i = 2; i < 14; i++) add(prompt(i));
  pump();
  assert.is(on("device-1").length, 8);
  assert.is(on("device-2").length, 4);
});

test("sequences with the same long prefix go to the device that has it, unless it has much more to do", () => {
  const { add, pump, on, finish, board } = start(2);
  const common = prompt(1, 640);
  const first = add(common, 4);
  add(prompt(2, 640), 4);
  pump();
  for (const device of ["device-1", "device-2"]) for (const { id } of finish(device)) board.remove(id);
  const there = add([...common, 1, 2, 3], 20);
  const also = add([...common, 4, 5, 6], 20);
  pump();
  assert.ok(first);
  assert.equal(on("device-1"), [there, also]);
  const far = Array.from({ length: 60 }, (_, i) => add([...common, i + 10], 200));
  pump();
  assert.ok(on("device-2").length > 10 && on("device-1").length > 10, `${far.length} were spread`);
});

test("a device that appears takes over from a busy one, and its sequences bring their KV", () => {
  const { add, pump, finish, place, on } = start(1);
  for (let i = 0; i < 8; i++) add(prompt(i), 400);
  pump();
  finish("device-1");
  pump();
  place(2);
  const fresh = pump().filter(({ device }) => device === "device-2");
  assert.is(on("device-2").length, 4);
  assert.is(fresh[0]!.quantum.seqs.length, 4);
  assert.equal(
    fresh[0]!.move.map(({ device }) => device),
    new Array(4).fill("device-1"),
  );
  assert.ok(
    fresh[0]!.quantum.seqs.every(({ start }) => start?.parked),
    "they look for it",
  );
});

test("a drained device hands over all that it has and gets no more, until it starts anew", () => {
  const { board, add, pump, finish, place, on } = start(2);
  for (let i = 0; i < 8; i++) add(prompt(i), 400);
  pump();
  assert.ok(board.drain("device-1"));
  finish("device-2");
  finish("device-2");
  const fresh = pump();
  assert.is(on("device-1").length, 0);
  assert.is(on("device-2").length, 8);
  assert.ok(fresh.flatMap(({ move }) => move).every(({ device }) => device === "device-1"));
  for (let i = 8; i < 12; i++) add(prompt(i));
  pump();
  assert.is(on("device-1").length, 0);
  assert.not.ok(board.drain("device-3"));
  board.down("device-1");
  place(1, 2);
  pump();
  assert.ok(on("device-1").length > 0);
});

test("a device that vanishes loses nothing: its sequences go on elsewhere with the ids that were reported", () => {
  const { board, add, pump, finish, on, handed } = start(2);
  for (let i = 0; i < 8; i++) add(prompt(i), 40);
  pump();
  finish("device-1");
  board.down("device-1");
  handed.splice(0, handed.length, ...handed.filter(({ device }) => device === "device-2"));
  let ended = 0;
  for (let round = 0; board.sequences.size > 0; round++) {
    assert.ok(round < 100, "it ends");
    pump();
    assert.is(on("device-1").length, 0);
    for (const { id, output } of finish("device-2")) {
      assert.is(output!.newTokens, 40);
      board.remove(id);
      ended += 1;
    }
  }
  assert.is(ended, 8);
});

test("the reason why a sequence waits has numbers in it", () => {
  const { board, add, pump, finish } = start(1);
  for (let i = 0; i < 5; i++) add(prompt(i), 3_000, "big");
  add(prompt(9), 3_000, "small");
  pump();
  finish("device-1");
  pump();
  const waiting = [...board.sequences.values()].filter(({ device }) => device === undefined);
  assert.ok(waiting.length > 0);
  const why = board.why(waiting[0]!);
  assert.match(why, /waits behind \d+ sequences \(.*big \d/);
  assert.match(why, /has used \d+ of \d+ tokens \(\d+%\), and is due 50% now/);
  assert.match(why, /memory is short by \d+ KV blocks: it needs 192, \d+ are free/);
  assert.match(why, /expected to start within \d+ ms/);
});

test.run();
