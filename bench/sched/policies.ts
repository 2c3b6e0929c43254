// Table 1: the same agents under no scheduling, a plain queue, and each policy; 1 to 512 of them.
import { POLICIES } from "../../kernel/abi/syscalls/scheduler.ts";
import type { Direct } from "./direct.ts";
import type { System } from "./system.ts";
import { mean, percentile, sum, type Timing } from "./timing.ts";
import { type Agent, agents } from "./workload.ts";

export async function policies(system: System, direct: Direct, counts: readonly number[]): Promise<string> {
  const ways: [string, (list: Agent[]) => Promise<Timing[]>][] = [
    // Each agent is stepped by itself to its end, in order of arrival.
    ["none", (list) => direct.run(list, { batch: 1, maxSteps: 64 })],
    ["plain queue", (list) => direct.run(list, { batch: 64, maxSteps: 8 })],
    ...POLICIES.map((policy): (typeof ways)[number] => [
      policy,
      async (list) => {
        await system.set(policy);
        return system.run(list);
      },
    ]),
  ];
  const lines = [row("agents", "way", ["total s", "wait mean", "wait p90", "TTFT mean", "TTFT p90", "tokens/s"])];
  lines.push("-".repeat(80));
  for (const count of counts) {
    const list = agents(count);
    for (const [name, run] of ways) {
      const from = performance.now();
      const timings = await run(list);
      const seconds = (performance.now() - from) / 1000;
      const of = (field: keyof Timing) => timings.map((timing) => timing[field]);
      const ms = [mean(of("wait")), percentile(of("wait"), 0.9), mean(of("first")), percentile(of("first"), 0.9)];
      lines.push(
        row(String(count), name, [
          seconds.toFixed(2),
          ...ms.map((value) => value.toFixed(0)),
          (sum(of("newTokens")) / seconds).toFixed(0),
        ]),
      );
    }
  }
  await system.set("fair");
  return lines.join("\n");
}

const row = (count: string, name: string, figures: string[]) =>
  `${count.padEnd(8)}${name.padEnd(12)}${figures.map((figure) => figure.padStart(10)).join("")}`;
