// Owns the engine driven directly, with nothing between: the peer of what goes through the system. Same model code, same threads.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wasm } from "../../services/device/drivers/wasm/driver.ts";
import { Files } from "../../services/device/files.ts";
import { Outbox } from "../../services/device/outbox.ts";
import { Resident } from "../../services/device/resident.ts";
import { sleep, type Timing } from "./timing.ts";
import { type Agent, MODEL_15M } from "./workload.ts";

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };

/** Sizes of the quanta that it is driven with. */
export interface Drive {
  /** Sequences at a time; others wait in a queue, first come first served. */
  batch: number;
  maxSteps: number;
}

export type Direct = Awaited<ReturnType<typeof startDirect>>;

export async function startDirect(weights: string, threads: number, kvBlocks: number, dtype: "f32" | "int8" = "f32") {
  const folder = mkdtempSync(join(tmpdir(), "soma-bench-"));
  const loaded = await wasm.load({ config: MODEL_15M, weights, weightsHash: "random", dtype, kvBlocks, threads });
  const files = new Files(folder, 2 ** 33);
  const open = () => new Resident("direct", "wasm", loaded, { files, warn: (what) => console.warn(what) });
  const resident = open();
  let quanta = 0;

  return {
    loaded,
    resident,
    /** Another device with the same arithmetic and the same folder of snapshots. */
    open,
    start: ({ ids, maxNew }: Pick<Agent, "ids" | "maxNew">, to: string) => ({
      ...{ ids, generated: 0, mode: "generate" as const, sample: GREEDY, stopIds: [], maxNew, from: 1 },
      ...{ to, principal: "bench" },
    }),
    /** Continuous batching over a plain queue: sequences join and leave between quanta. */
    async run(agents: readonly Agent[], { batch, maxSteps }: Drive): Promise<Timing[]> {
      const from = performance.now();
      const seen = new Map<string, Partial<Timing>>(agents.map((_, i) => [`${i}`, {}]));
      const since = (i: string) => performance.now() - from - agents[Number(i)]!.arrival;
      const outbox = new Outbox((to) => {
        seen.get(to)!.first ??= since(to);
      });
      const queue = agents.map((_, i) => `${i}`);
      const running = new Set<string>();
      while (queue.length > 0 || running.size > 0) {
        const joining: string[] = [];
        while (running.size < batch && queue.length > 0 && since(queue[0]!) >= 0) {
          const next = queue.shift()!;
          running.add(next);
          joining.push(next);
          seen.get(next)!.wait = since(next);
        }
        if (running.size === 0) {
          await sleep(Math.max(0, -since(queue[0]!)));
          continue;
        }
        const seqs = [...running].map((seq) => ({
          seq,
          ...(joining.includes(seq) ? { start: this.start(agents[Number(seq)]!, seq) } : {}),
        }));
        const report = await resident.run(
          { quantum: `d${quanta++}`, model: "direct", maxSteps, maxMs: 1e6, tokenBudget: 128, seqs },
          outbox,
        );
        for (const { seq, finish } of report.seqs) {
          if (finish === null) continue;
          if (finish === "error") throw new Error(`${seq} failed`);
          running.delete(seq);
          Object.assign(seen.get(seq)!, { total: since(seq), newTokens: agents[Number(seq)]!.maxNew });
        }
      }
      return [...seen.values()] as Timing[];
    },
    async stop() {
      await loaded.unload();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
