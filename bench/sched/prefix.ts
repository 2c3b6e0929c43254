// Table 4: agents that share a long prefix, cold cache, beside as many whose prefixes all differ.
import type { System } from "./system.ts";
import { percentile, sleep } from "./timing.ts";
import { atMost, verdicts } from "./verdict.ts";
import { type Agent, prompt } from "./workload.ts";

const SUFFIX = 32;
const NEW = 32;

export async function measurePrefix(system: System, count: number, length: number) {
  const side = async (shared: boolean) => {
    // Cold: nothing is cached.
    await system.reload();
    const { models } = await system.client.call("device.list", {});
    let least = models[0]!.freeBlocks;
    const agents = Array.from(
      { length: count },
      (_, i): Agent => ({
        ...{ app: `agent-${i}`, maxNew: NEW, arrival: 0, priority: 0, ttl: 600_000 },
        ids: [...prompt(length, shared ? 1 : 500 + i), ...prompt(SUFFIX, 2_000 + i)],
      }),
    );
    let on = true;
    const watch = (async () => {
      while (on) {
        least = Math.min(least, (await system.freeBlocks())!);
        await sleep(20);
      }
    })();
    const timings = await system.run(agents);
    on = false;
    await watch;
    return {
      first: percentile(
        timings.map(({ first }) => first),
        0.5,
      ),
      blocks: models[0]!.freeBlocks - least,
    };
  };
  return { shared: await side(true), apart: await side(false) };
}

export async function table4(system: System, count: number, length: number): Promise<string> {
  const { shared, apart } = await measurePrefix(system, count, length);
  return verdicts(`4. ${count} agents, prefix ${length}`, [
    ["median TTFT without sharing, ms", apart.first.toFixed(0)],
    ["median TTFT with sharing, ms", shared.first.toFixed(0)],
    atMost("  ratio", shared.first / apart.first, 0.1, 3),
    ["KV blocks without, at most", String(apart.blocks)],
    ["KV blocks with, at most", String(shared.blocks)],
    atMost("  ratio", shared.blocks / apart.blocks, 0.15, 3),
  ]);
}
