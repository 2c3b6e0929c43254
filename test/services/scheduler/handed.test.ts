// What the scheduler makes of reports that are lost on their way: the device's word tells, and no answer is short of what they held.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Board, type Input, type Report } from "../../../services/scheduler/board.ts";
import { Handed } from "../../../services/scheduler/handed.ts";
import type { Handover } from "../../../services/scheduler/handover.ts";

/** A quantum that was handed to device-1 at 0 ms, as request `a1`. */
function handOver() {
  const handed = new Handed();
  let canceled = 0;
  let report!: (text: string) => void;
  const result = new Promise<string>((resolve) => {
    report = resolve;
  });
  const watched = handed.watch("a1", { device: "device-1", at: 0, cancel: () => void (canceled += 1) }, result);
  return { handed, report, watched, canceled: () => canceled };
}

test("a quantum that its device does not owe an answer for any more is given up", () => {
  const { handed, canceled } = handOver();
  handed.heard("device-1", ["a1"], 5_000);
  handed.heard("device-2", [], 5_000);
  assert.is(canceled(), 0);
  handed.heard("device-1", ["a2"], 10_000);
  assert.is(canceled(), 1);
});

test("a word that may have crossed with the quantum, or comes after its report, gives nothing up", async () => {
  const { handed, report, watched, canceled } = handOver();
  handed.heard("device-1", [], 1_000);
  report("done");
  assert.is(await watched, "done");
  handed.heard("device-1", [], 9_000);
  assert.is(canceled(), 0);
});

/** A board with one sequence in two quanta at a device. */
function twoQuanta() {
  const board = new Board(() => 0);
  board.place({ device: "d", epoch: 1, model: "m", blocks: 100, blockBytes: 1, context: 4096, numerics: "n" });
  const sample = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
  const input = { model: "m", ids: [1, 2], maxNew: 90, mode: "generate", sample, stopIds: [], priority: 0, from: 0 };
  board.add("s", "app", "_INBOX", Number.POSITIVE_INFINITY, input as Input);
  return { board, first: board.next()!, second: board.next()! };
}

function reportOf({ quantum }: Handover, finish: "length" | "unknown" | null): Report {
  const part = { seq: "s", computed: 2, cached: 0, newIds: [7, 8], finish };
  return { quantum: quantum.quantum, ms: 1, steps: 2, computedTokens: 2, seqs: [part], freeBlocks: 0 };
}

for (const finish of ["length", null] as const)
  test(`a report without the one before it is not taken, ${finish ?? "unfinished"}: the sequence goes on from what is known`, () => {
    const { board, first, second } = twoQuanta();
    assert.equal(board.report("d", "m", reportOf(second, finish)), []);
    // Late, it belongs to a former attempt.
    assert.equal(board.report("d", "m", reportOf(first, null)), []);
    assert.equal(board.next()!.quantum.seqs[0]!.start?.ids, [1, 2]);
  });

test("a sequence that its device does not know any more begins there again from what is known", () => {
  const { board, first, second } = twoQuanta();
  assert.equal(board.report("d", "m", reportOf(first, null)), []);
  assert.equal(board.report("d", "m", { ...reportOf(second, "unknown"), computedTokens: 0 }), []);
  assert.equal(board.next()!.quantum.seqs[0]!.start?.ids, [1, 2, 7, 8]);
});

test("a quantum that is lost after its sequence was put aside gives no room back twice", () => {
  const { board, first } = twoQuanta();
  board.drain("d");
  board.lost("d", first.quantum);
  board.place({ device: "e", epoch: 1, model: "m", blocks: 100, blockBytes: 1, context: 4096, numerics: "n" });
  assert.equal(board.next()!.quantum.seqs[0]!.start?.ids, [1, 2]);
  assert.ok(board.remove("s"));
  assert.is(board.next(), undefined, "it waits once only");
});

test.run();
