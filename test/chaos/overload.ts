// Owns ten times more work than the machine can do: what is done stays as much, the rest is refused early, memory does not grow.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { until } from "../helpers/system.ts";
import { type Figures, load } from "./figures.ts";
import type { Order, Seen } from "./quiet.ts";
import type { Rig } from "./rig.ts";
import { Tally, TOKENS, TTL } from "./tally.ts";

const TIMES = 10;
const REJECT_MS = 50;
const GROWTH_MB = 256;
/**
 * %. The goal is 90; but whoever makes the flood, and the broker that carries it, work on the same few cores, and what they
 * take the services do not have.
 */
const LEAST = 30;
/** Requests that each app has under way while the capacity is looked for, and how much more a step must bring. */
const LANES = [1, 2, 4, 8, 16];
const MORE = 1.05;
/** Calm and flood take turns, so that a machine that gets busier or warmer does not favour one of them. */
const TURNS = 3;
const CALM_MS = 2_000;

/** Work of one kind, turns added up. */
interface Sum {
  tokens: number;
  seconds: number;
}

export async function overload(rig: Rig, figures: Figures, ms: number): Promise<void> {
  // What struck before may have taken the model from the device.
  const warm = rig.apps[0]!.client;
  await until(
    "the model serves",
    () => warm.stream("model.generate", { model: "fox", prompt: "the", maxTokens: 1 }).result.then(() => true),
    rig.system,
  );
  const quiet = await quietOne(rig);
  const lanes = await climb(rig);
  const downs = rig.downs.length;
  const [calm, flood]: [Sum, Sum] = [
    { tokens: 0, seconds: 0 },
    { tokens: 0, seconds: 0 },
  ];
  const codes = new Map<string, number>();
  const rejected: number[] = [];
  const sizes: number[] = [];
  const shares: number[] = [];
  let [asked, probed, lagMs, late] = [0, 0, 0, Number.NEGATIVE_INFINITY];
  for (let turn = 0; turn < TURNS; turn++) {
    const before = await work(calm, (tally) => lanesOf(tally, rig, lanes, CALM_MS));
    if (turn === 0) sizes.push(await memory(rig));
    const rate = (TIMES * before.tokens) / before.seconds / TOKENS;
    const clients = rig.apps.map(({ client }) => client);
    const order: Order = { rate: rate / clients.length, ms: ms / TURNS };
    quiet.send(order);
    const answer = once(quiet, "message") as Promise<[Seen]>;
    const { tally, tokens, seconds } = await work(flood, (tally) => tally.flood(clients, rate, ms / TURNS));
    const [seen] = await answer;
    sizes.push(await memory(rig));
    shares.push(tokens / seconds / (before.tokens / before.seconds));
    rejected.push(...seen.rejected);
    asked += tally.asked;
    probed += seen.asked;
    lagMs = Math.max(lagMs, seen.lagMs);
    late = Math.max(late, tally.late);
    for (const [code, count] of tally.codes) codes.set(code, (codes.get(code) ?? 0) + count);
  }
  quiet.disconnect();
  const part = `overload ${TIMES}x, ${Math.round(ms / 1_000)} s`;
  const capacity = calm.tokens / calm.seconds;
  figures.add(
    part,
    "capacity",
    capacity,
    "",
    undefined,
    `tokens/s with ${lanes * rig.apps.length} requests under way, more bring less than 5 %; load average ${load()}`,
  );
  figures.add(part, "offered", asked / flood.seconds, "/s", undefined, `of ${TOKENS} tokens within ${TTL / 1_000} s`);
  const each = shares.map((share) => `${Math.round(100 * share)} %`).join(", ");
  figures.add(
    part,
    "goodput, of capacity",
    (100 * flood.tokens) / flood.seconds / capacity,
    "%",
    { least: LEAST },
    `${each} in turn; goal 90 %, ${LEAST} % is asserted: who makes the flood runs on the same cores`,
  );
  figures.times(part, "a quiet process is rejected after", rejected, REJECT_MS);
  figures.add(part, "rejected of what the quiet process asked", (100 * rejected.length) / probed, "%", { least: 10 });
  figures.add(part, "its own event loop late, p99", lagMs, "ms");
  const told = [...codes].map(([code, count]) => `${count} ${code}`).join(", ");
  figures.add(part, "outcomes", asked, "", undefined, told);
  const down = rig.downs.slice(downs).map(({ instance, reason }) => `${instance}: ${reason}`);
  figures.add(part, "services that went down", down.length, "", { most: 0 }, down.join("; "));
  const [start, first, ...rest] = sizes as [number, number, ...number[]];
  figures.add(part, "memory grown in the first flood", first - start, "MB", undefined, "heaps take what they use");
  figures.add(part, "memory grown in those after it", Math.max(...rest) - first, "MB", { most: GROWTH_MB });
  figures.add(part, "latest outcome after its deadline", late, "ms", { most: 100 });
}

/** With more and more under way until that brings no more: how many for each app. */
async function climb(rig: Rig): Promise<number> {
  let [best, most] = [LANES[0]!, 0];
  for (const lanes of LANES) {
    const { tokens, seconds } = await work({ tokens: 0, seconds: 0 }, (tally) => lanesOf(tally, rig, lanes, CALM_MS));
    if (tokens / seconds < most * MORE) break;
    [best, most] = [lanes, tokens / seconds];
  }
  return best;
}

/** So many requests of each app under way, each followed by the next at once. */
async function lanesOf(tally: Tally, rig: Rig, lanes: number, ms: number): Promise<void> {
  const end = performance.now() + ms;
  const lane = async (number: number) => {
    const { client } = rig.apps[number % rig.apps.length]!;
    for (let n = 0; performance.now() < end; n++) await sleep(await tally.ask(client, number * 1_000 + n));
  };
  await Promise.all(Array.from({ length: lanes * rig.apps.length }, (_, number) => lane(number)));
}

async function work(sum: Sum, run: (tally: Tally) => Promise<void>): Promise<Sum & { tally: Tally }> {
  const tally = new Tally();
  const began = performance.now();
  await run(tally);
  const seconds = (performance.now() - began) / 1_000;
  sum.tokens += tally.tokens;
  sum.seconds += seconds;
  return { tally, tokens: tally.tokens, seconds };
}

async function quietOne(rig: Rig): Promise<ChildProcess> {
  const program = fileURLToPath(new URL("quiet.ts", import.meta.url));
  const child = fork(program, { execArgv: ["--import", import.meta.resolve("tsx")] });
  child.send(await rig.credential("quiet"));
  await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => Promise.reject(new Error(`the quiet process ended with ${code}`))),
  ]);
  return child;
}

/** MB of all services together. */
async function memory(rig: Rig): Promise<number> {
  const rows = await rig.rows();
  return rows.filter(({ kind }) => kind === "service").reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0) / 1e6;
}
