// Table 8: how long somebody who asks now and then waits for a first token while a training runs, and while none does.
import { startTraining } from "../../test/services/scheduler/training.ts";
import { median } from "../figures.ts";
import type { System } from "./system.ts";
import { percentile, sleep } from "./timing.ts";
import { atMost, verdicts } from "./verdict.ts";
import { prompt } from "./workload.ts";

/** ms between an answer and the next question: longer than training rests after one. */
const PAUSE = 400;
const GROWTH = 1.25;

let seed = 1;

async function firstTokens(system: System, requests: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < requests; i++) {
    await sleep(PAUSE);
    const ids = prompt(16, 95_000 + seed++);
    const { first } = await system.ask({ app: "person", ids, maxNew: 8, priority: 0, ttl: 600_000 });
    times.push(first);
  }
  return times;
}

/** Times to first token of each round, without and with a training on so many workers; steps that it made meanwhile. */
export async function measureTraining(system: System, workers: number, rounds: number, requests: number) {
  const [alone, beside] = [[] as number[][], [] as number[][]];
  let steps = 0;
  for (let round = 0; round < rounds; round++) {
    alone.push(await firstTokens(system, requests));
    const training = await startTraining(system.client, workers);
    const before = training.last();
    beside.push(await firstTokens(system, requests));
    steps += training.last() - before;
    await training.stop();
  }
  return { alone, beside, steps };
}

export async function table8(system: System, workers: number, rounds: number, requests: number): Promise<string> {
  const { alone, beside, steps } = await measureTraining(system, workers, rounds, requests);
  const [without, along] = [alone, beside].map((times) => times.flat()) as [number[], number[]];
  const ratios = alone.map((times, round) => median(beside[round]!) / median(times));
  const p95 = (times: number[]) => percentile(times, 0.95);
  return verdicts(`8. training beside, ${rounds} rounds of ${requests}`, [
    ["p50 of TTFT without, ms", median(without).toFixed(1)],
    ["p50 with", median(along).toFixed(1)],
    [
      "  with / without, least-most of the rounds",
      `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`,
    ],
    ["p95 of TTFT without, ms", p95(without).toFixed(1)],
    ["p95 with", p95(along).toFixed(1)],
    atMost("  with / without", p95(along) / p95(without), GROWTH),
    ["steps trained meanwhile", String(steps)],
  ]);
}
