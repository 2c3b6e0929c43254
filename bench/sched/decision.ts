// Table 6: what a pick costs with ever more calls queued, and what the bus costs beside a quantum's compute.
import { randomUUID } from "node:crypto";
import { Board } from "../../services/scheduler/board.ts";
import type { Handover } from "../../services/scheduler/handover.ts";
import { MODEL } from "../../test/services/scheduler/running.ts";
import { median } from "../figures.ts";
import type { System } from "./system.ts";
import { sleep } from "./timing.ts";
import { atMost, type Verdict, verdicts } from "./verdict.ts";
import { prompt } from "./workload.ts";

export interface Decision {
  /** us to choose the sequences of one quantum, and for each of them. */
  quantum: number;
  each: number;
}

/** Decisions with so many calls queued by a tenth as many apps, one device with room for 64 of them. */
export function measureDecision(queued: number, quanta: number): Decision {
  const board = new Board(() => performance.now());
  const fixed = { model: "m", blocks: 4 * 64, blockBytes: 1, context: 4096, numerics: "bench" };
  board.place({ device: "device-1", epoch: 1, ...fixed });
  let number = 0;
  const add = () => {
    const id = `s${number++}`;
    board.add(id, `app-${number % Math.ceil(queued / 10)}`, "_INBOX.model-1.x", Number.POSITIVE_INFINITY, {
      ...{ model: "m", ids: [1, 2, 3], mode: "generate", maxNew: 32, stopIds: [], from: 1, priority: 0 },
      sample: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
    });
  };
  for (let i = 0; i < queued; i++) add();
  const times: number[] = [];
  const each: number[] = [];
  const flying: Handover[] = [];
  for (let i = 0; i < quanta; i++) {
    for (;;) {
      const from = performance.now();
      const handover = board.next();
      const us = 1000 * (performance.now() - from);
      if (handover === undefined) break;
      times.push(us);
      each.push(us / handover.quantum.seqs.length);
      flying.push(handover);
    }
    const { device, quantum } = flying.shift()!;
    const seqs = quantum.seqs.map(({ seq }) => {
      // Named once more after its end: the report of that counts for nothing.
      const over = (board.sequences.get(seq)?.newIds.length ?? 0) >= 24;
      return {
        seq,
        computed: 8,
        cached: 0,
        newIds: [1, 2, 3, 4, 5, 6, 7, 8],
        finish: over ? ("length" as const) : null,
      };
    });
    const report = { quantum: quantum.quantum, ms: 50, steps: 8, computedTokens: 8 * seqs.length, seqs, freeBlocks: 0 };
    for (const { id } of board.report(device, "m", report)) {
      board.remove(id);
      add();
    }
  }
  // The first ones are compiled.
  return { quantum: median(times.slice(times.length / 4)), each: median(each.slice(each.length / 4)) };
}

/** ms of a quantum that computes nothing, there and back, beside the compute of one that does, for so many sequences. */
export async function measureBus(system: System, sequences: number, rounds: number) {
  const quantum = (seqs: { seq: string; start?: object }[]) =>
    system.client.call("device.run", {
      ...{ quantum: randomUUID(), model: MODEL, maxSteps: 8, maxMs: 10_000, tokenBudget: 128 },
      seqs: seqs as never,
    });
  const empty: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const from = performance.now();
    // Sequences that it does not know: everything is done but computing.
    await quantum(Array.from({ length: sequences }, (_, i) => ({ seq: `model-1/unknown-${i}` })));
    empty.push(performance.now() - from);
    await sleep(2);
  }
  const names = Array.from({ length: sequences }, (_, i) => `model-1/bus-${i}`);
  const start = (i: number) => ({
    ...{ ids: prompt(16, 80_000 + i), generated: 0, mode: "generate", stopIds: [], maxNew: 100, from: 1 },
    ...{ sample: {}, to: "_INBOX.model-1.nobody", principal: "bench" },
  });
  await quantum(names.map((seq, i) => ({ seq, start: start(i) })));
  const compute: number[] = [];
  for (let i = 0; i < 5; i++) compute.push((await quantum(names.map((seq) => ({ seq })))).ms);
  await system.client.call("device.drop", { model: MODEL, seqs: names });
  return { bus: median(empty), compute: median(compute) };
}

export async function table6(system: System, quanta: number): Promise<string> {
  const sizes = [100, 1_000, 10_000];
  const decisions: Decision[] = [];
  for (const queued of sizes) {
    decisions.push(measureDecision(queued, quanta));
    // The connections to the broker want their turn between them.
    await sleep(100);
  }
  const growth = decisions[2]!.each / decisions[0]!.each;
  const { bus, compute } = await measureBus(system, 32, 50);
  const rows: Verdict[] = [
    ...sizes.map((queued, i): Verdict => [`us a sequence chosen, ${queued} queued`, decisions[i]!.each.toFixed(2)]),
    atMost("us to choose one of 10,000", decisions[2]!.each, 50),
    // The issue does not say which of the two a decision is: both are held to the goal.
    atMost("us to choose a whole quantum, up to 64 of them", decisions[2]!.quantum, 50, 0),
    atMost("growth from 100 to 10,000 (log n: 2.0)", growth, 2),
    ["quantum of 32 sequences, 8 steps, ms", compute.toFixed(1)],
    ["  there and back without computing, ms", bus.toFixed(2)],
    atMost("  % of its compute", (100 * bus) / compute, 1),
  ];
  return verdicts("6. decision and bus", rows);
}
