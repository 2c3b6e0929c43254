// Table 3: what equal apps, weighted apps and the neighbour of a flood get, in tokens the scheduler counted as computed.
import type { Principal } from "../../kernel/abi/headers.ts";
import { MODEL } from "../../test/services/scheduler/running.ts";
import type { System } from "./system.ts";
import { jain, percentile, sleep, sum } from "./timing.ts";
import { atLeast, atMost, verdicts } from "./verdict.ts";
import { prompt, random } from "./workload.ts";

const FLOOD = 50;

export interface FairnessOptions {
  /** How long each share is measured. */
  ms: number;
  /** Requests of the one whose time to first token is measured. */
  requests: number;
}

/** Never the same prompt twice: nothing is shared with what was measured before. */
let seed = 1;

/** Apps that each keep so many requests going; returns how to end them. */
function saturate(system: System, apps: readonly (Principal & { at: number })[]): () => Promise<void> {
  let on = true;
  const loop = async ({ at: _, ...who }: (typeof apps)[number]) => {
    while (on) {
      // Of many lengths: were they alike, an app's requests would end all at once, and for a moment it would want nothing.
      const [ids, maxNew] = [prompt(16, 7_000 + seed), 24 + Math.floor(48 * random(seed)())];
      seed += 1;
      await system.ask({ app: "", ids, maxNew, priority: 0, ttl: 600_000 }, MODEL, who);
    }
  };
  const loops = apps.flatMap((app) => Array.from({ length: app.at }, () => loop(app)));
  return async () => {
    on = false;
    await Promise.all(loops);
  };
}

/** Tokens of each app over `ms`, once all of them run. */
async function shares(system: System, apps: readonly (Principal & { at: number })[], ms: number): Promise<number[]> {
  const end = saturate(system, apps);
  await sleep(1_500);
  const before = await system.tokens();
  await sleep(ms);
  const after = await system.tokens();
  await end();
  return apps.map(({ principal }) => after.get(principal)! - before.get(principal)!);
}

/** p95 of the time to first token of a small app that asks now and then. */
async function firstTokens(system: System, app: string, requests: number): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < requests; i++) {
    const { first } = await system.ask({ app, ids: prompt(16, 90_000 + i), maxNew: 8, priority: 0, ttl: 600_000 });
    times.push(first);
    await sleep(20);
  }
  return percentile(times, 0.95);
}

export async function measureFairness(system: System, { ms, requests }: FairnessOptions) {
  const equal = await shares(
    system,
    [1, 2, 3, 4].map((i) => ({ principal: `equal-${i}`, at: 24 })),
    ms,
  );
  const granted = await Promise.all([1, 2, 4].map((weight) => system.grant(`weight-${weight}`, weight)));
  // The scheduler learns of grants by a watch.
  await sleep(2_000);
  const weighted = await shares(
    system,
    granted.map((who) => ({ ...who, at: 96 })),
    ms,
  );
  const alone = await firstTokens(system, "small", requests);
  // Its share beside one other app is half: what it sees beside one that asks as it does itself would be no flood.
  const end = saturate(system, [{ principal: "flood", at: FLOOD }]);
  await sleep(500);
  const flooded = await firstTokens(system, "small", requests);
  await end();
  return { equal, weighted, alone, flooded };
}

/** How far the worst app is from its weight's share. */
export function deviation(tokens: readonly number[], weights: readonly number[]): number {
  return Math.max(...tokens.map((own, i) => Math.abs(own / sum(tokens) / (weights[i]! / sum(weights)) - 1)));
}

export async function table3(system: System, options: FairnessOptions): Promise<string> {
  const { equal, weighted, alone, flooded } = await measureFairness(system, options);
  return verdicts("3. fairness", [
    atLeast("4 equal apps: Jain's index", jain(equal), 0.98, 4),
    [`  tokens`, equal.join(" ")],
    atMost("weights 1:2:4: worst deviation", deviation(weighted, [1, 2, 4]), 0.05, 3),
    [`  tokens`, weighted.join(" ")],
    ["p95 TTFT of a small app alone, ms", alone.toFixed(0)],
    [`p95 TTFT beside a flood of ${FLOOD}, ms`, flooded.toFixed(0)],
    ["  / alone", (flooded / alone).toFixed(2)],
    // "Alone at its share" is taken as twice the time alone: half of the device is its share.
    atMost("  / alone at its share (2x alone)", flooded / (2 * alone), 1.3),
  ]);
}
