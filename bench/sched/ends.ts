// Table 7: how soon what is over stops to compute and gives its memory back: a call whose deadline passes, and one that is canceled.
import { isSomaError } from "../../kernel/abi/errors.ts";
import { LENGTH } from "../../services/scheduler/quanta.ts";
import { median } from "../figures.ts";
import type { System } from "./system.ts";
import { sleep } from "./timing.ts";
import { atMost, type Verdict, verdicts } from "./verdict.ts";
import { BLOCK_BYTES, prompt } from "./workload.ts";

const PROMPT = 480;
const NEW = 1_500;
/** Its blocks once it is prefilled. */
const HELD = PROMPT / 16;
/** Room for it and for its neighbour. */
const KV_BLOCKS = 256;
/** ms that it computes before it is ended. */
const UNTIL = 1_200;
const GOAL = 250;
/** ms after which blocks are lost, not late. */
const LOST = 20_000;

const CODES = { deadline: "ETIME", cancel: "ECANCELED" } as const;
export type How = keyof typeof CODES;

export interface End {
  /** ms from the end until its caller knows, and until its blocks are free. */
  told: number;
  freed: number;
  /** ms of a quantum as long as they are made while nobody waits. */
  quantum: number;
}

let number = 0;

/**
 * Ends one of two sequences that share their quanta, which are long, since nobody else waits: only at the end of one are blocks
 * given back. The model is a fresh one each time: of one whose speed is known such a call would be refused with ETIME early.
 */
export async function measureEnd(system: System, how: How): Promise<End> {
  number += 1;
  const model = `ends-${number}@1`;
  await system.load({ model, kvBytes: KV_BLOCKS * BLOCK_BYTES });
  const free = async () => {
    const { models } = await system.client.call("device.list", {});
    return models.find((row) => row.model === model)!.freeBlocks;
  };
  const until = async (blocks: number) => {
    const since = performance.now();
    while ((await free()) < blocks) {
      if (performance.now() - since > LOST) throw new Error(`after ${LOST} ms blocks are not free`);
      await sleep(1);
    }
  };
  const open = (ids: number[], ttl: number) =>
    system.client.stream("scheduler.run", { model, ids, maxNew: NEW }, { for: { principal: `end-${number}` }, ttl });
  const from = performance.now();
  const neighbour = open(prompt(16, 40_000 + number), 600_000);
  const ended = open(prompt(PROMPT, 41_000 + number), how === "deadline" ? UNTIL : 600_000);
  const silent = neighbour.result.catch(() => undefined);
  let [tokens, first] = [0, 0];
  const over = (async () => {
    try {
      for await (const { ids } of ended) {
        first ||= performance.now();
        tokens += ids.length;
      }
      await ended.result;
    } catch (error) {
      if (isSomaError(error, CODES[how])) return performance.now();
      throw error;
    }
    throw new Error(`it was done before its ${how}`);
  })();
  await sleep(from + UNTIL - performance.now());
  const at = how === "deadline" ? from + UNTIL : performance.now();
  const held = await free();
  if (how === "cancel") void ended.cancel();
  await until(Math.min(KV_BLOCKS, held + HELD));
  const freed = performance.now() - at;
  const told = (await over) - at;
  await neighbour.cancel();
  await silent;
  await until(KV_BLOCKS);
  await system.client.call("device.unload", { model });
  const { maxSteps, maxMs } = LENGTH.alone;
  return { told, freed, quantum: Math.min(maxMs, (maxSteps * (at - first)) / tokens) };
}

export async function table7(system: System, rounds: number): Promise<string> {
  const ends: Record<How, End[]> = { deadline: [], cancel: [] };
  for (let round = 0; round < rounds; round++)
    for (const how of ["deadline", "cancel"] as const) ends[how].push(await measureEnd(system, how));
  const of = (how: How, what: keyof End) => ends[how].map((end) => end[what]);
  const range = (list: number[]) => `${Math.min(...list).toFixed(0)}-${Math.max(...list).toFixed(0)}`;
  const quantum = median([...of("deadline", "quantum"), ...of("cancel", "quantum")]);
  const rows = (["deadline", "cancel"] as const).flatMap((how): Verdict[] => [
    [`${how}: its caller knows after, ms`, median(of(how, "told")).toFixed(0)],
    atMost(
      `  its blocks are free after, ms`,
      median(of(how, "freed")),
      how === "cancel" ? GOAL : Math.ceil(quantum),
      0,
    ),
    ["    least-most", range(of(how, "freed"))],
  ]);
  return verdicts(`7. ends, ${rounds} of each`, [["a long quantum of two, ms", quantum.toFixed(0)], ...rows]);
}
