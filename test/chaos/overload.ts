// Owns ten times more work than the machine can do: what is done stays as much, the rest is refused early, memory does not grow.
import type { ChildProcess } from "node:child_process";
import { until } from "../helpers/system.ts";
import type { Order, Seen } from "./asker.ts";
import { asker, ordered } from "./crowd.ts";
import { type Figures, load } from "./figures.ts";
import { APPS, type Rig } from "./rig.ts";
import { TOKENS, TTL } from "./tally.ts";

export const TIMES = 10;
const REJECT_MS = 50;
const GROWTH_MB = 256;
/** %. The goal is 90; a shared machine must not decide. */
const GOAL = 90;
const LEAST = 30;
/** Requests that each app has under way while the capacity is looked for, and how much more a step must bring. */
const LANES = [1, 2, 4, 8];
const MORE = 1.05;
/** Calm and flood take turns, so that a machine that gets busier or warmer does not favour one of them. */
export const TURNS = 3;
export const CALM_MS = 3_000;
/** What happens in the first ms of each is not counted: buffers fill, paces are learned. */
export const WARM_MS = 1_000;

export async function overload(rig: Rig, figures: Figures, ms: number): Promise<void> {
  // What struck before may have taken the model from the device.
  const warm = rig.apps[0]!.client;
  await until(
    "the model serves",
    () => warm.stream("model.generate", { model: "fox", prompt: "the", maxTokens: 1 }).result.then(() => true),
    rig.system,
  );
  const names = Array.from({ length: APPS }, (_, number) => `flood-${number}`);
  const [crowd, quiet] = [await asker(rig, names), await asker(rig, ["quiet"])];
  const { lanes, most } = await climb(crowd);
  // Tokens a second alone, and with as many requests made beside them as the flood will make.
  const rate = (TIMES * most) / TOKENS;
  const downs = rig.downs.length;
  const [calms, floods, quiets]: [Seen[], Seen[], Seen[]] = [[], [], []];
  const sizes: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const both = (order: Order) =>
      Promise.all([ordered(crowd, order), ordered(quiet, { ...order, lanes: 0, rate: rate / APPS })]);
    const [calm] = await both({ ms: CALM_MS, warm: WARM_MS, lanes, rate, dry: true });
    if (turn === 0) sizes.push(await memory(rig));
    const [flood, seen] = await both({ ms: WARM_MS + ms / TURNS, warm: WARM_MS, lanes: 0, rate, dry: false });
    sizes.push(await memory(rig));
    calms.push(calm);
    floods.push(flood);
    quiets.push(seen);
  }
  for (const child of [crowd, quiet]) child.disconnect();

  const part = `overload ${TIMES}x, ${Math.round(ms / 1_000)} s`;
  const under = `${lanes * APPS} requests under way`;
  figures.add(part, "capacity alone", most, "", undefined, `tokens/s with ${under}, more bring less than 5 %`);
  const beside = `the same while ${Math.round(rate)} requests/s are made and carried, to nobody; load average ${load()}`;
  figures.add(part, "capacity", speed(calms), "", undefined, beside);
  const asked = sum(floods, (seen) => seen.asked);
  const seconds = TURNS * ((WARM_MS + ms / TURNS) / 1_000);
  figures.add(part, "offered", asked / seconds, "/s", undefined, `of ${TOKENS} tokens within ${TTL / 1_000} s`);
  const each = floods
    .map((flood, turn) => `${Math.round((100 * speed([flood])) / speed([calms[turn]!]))} %`)
    .join(", ");
  const note = `${each} in turn; goal ${GOAL} %; ${Math.round((100 * speed(floods)) / most)} % of what it does alone`;
  figures.add(part, "goodput, of capacity", (100 * speed(floods)) / speed(calms), "%", { least: LEAST }, note);
  const rejected = quiets.flatMap((seen) => seen.rejected);
  const lag = (which: 0 | 1) => Math.max(...quiets.map((seen) => seen.lag[which]));
  figures.times(part, "a quiet process is rejected after", rejected, REJECT_MS);
  const probed = sum(quiets, (seen) => seen.asked);
  figures.add(part, "rejected of what the quiet process asked", (100 * rejected.length) / probed, "%", { least: 10 });
  figures.add(
    part,
    "its own event loop late, p99",
    lag(1),
    "ms",
    undefined,
    `p50 ${lag(0).toFixed(1)} ms; within the above`,
  );
  figures.add(part, "outcomes", asked, "", undefined, told(floods));
  const down = rig.downs.slice(downs).map(({ instance, reason }) => `${instance}: ${reason}`);
  figures.add(part, "services that went down", down.length, "", { most: 0 }, down.join("; "));
  const [start, first, ...rest] = sizes as [number, number, ...number[]];
  figures.add(part, "memory grown in the first flood", first - start, "MB", undefined, "heaps take what they use");
  figures.add(part, "memory grown in those after it", Math.max(...rest) - first, "MB", { most: GROWTH_MB });
  const late = Math.max(...[...floods, ...quiets].map((seen) => seen.late));
  figures.add(part, "latest outcome after its deadline", late, "ms", { most: 100 });
}

/** With more and more under way until that brings no more: how many for each app, and tokens/s with them. */
async function climb(crowd: ChildProcess): Promise<{ lanes: number; most: number }> {
  let best = { lanes: LANES[0]!, most: 0 };
  for (const lanes of LANES) {
    const most = speed([await ordered(crowd, { ms: CALM_MS, warm: WARM_MS, lanes, rate: 0, dry: true })]);
    if (most < best.most * MORE) break;
    best = { lanes, most };
  }
  return best;
}

const sum = (all: readonly Seen[], of: (seen: Seen) => number) => all.reduce((total, seen) => total + of(seen), 0);
/** Tokens a second. */
export const speed = (all: readonly Seen[]) => sum(all, ({ tokens }) => tokens) / sum(all, ({ seconds }) => seconds);

function told(all: readonly Seen[]): string {
  const counts = new Map<string, number>();
  for (const { codes } of all) for (const [code, count] of codes) counts.set(code, (counts.get(code) ?? 0) + count);
  return [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
}

/** MB of all services together. */
async function memory(rig: Rig): Promise<number> {
  const rows = await rig.rows();
  return rows.filter(({ kind }) => kind === "service").reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0) / 1e6;
}
