// Owns ten times more work than the machine can do: what is done stays as much, the rest is refused early, memory does not grow.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import { until } from "../helpers/system.ts";
import { type Figures, load, quantile } from "./figures.ts";
import type { App, Rig } from "./rig.ts";

const TOKENS = 32;
const TTL = 3_000;
const TIMES = 10;
const REJECT_MS = 50;
const GROWTH_MB = 256;

export async function overload(rig: Rig, figures: Figures, ms: number): Promise<void> {
  // What struck before may have taken the model from the device.
  const warm = rig.apps[0]!.client;
  await until(
    "the model serves",
    () => warm.stream("model.generate", { model: "fox", prompt: "the", maxTokens: 1 }).result.then(() => true),
    rig.system,
  );
  const before = await memory(rig);
  // Capacity: as many as a device serves well, each followed by the next at once.
  const calm = await offer(rig, Math.min(ms, 6_000), (end) =>
    Promise.all(
      rig.apps.map(async (app, i) => {
        for (let n = 0; performance.now() < end; n++) await ask(app, i * 1_000 + n);
      }),
    ),
  );
  const capacity = calm.tokens / calm.seconds;
  const rate = (TIMES * capacity) / TOKENS;
  const calmly = rig.downs.length;
  const flood = await offer(rig, ms, async (end) => {
    const began = performance.now();
    const all: Promise<void>[] = [];
    for (let sent = 0; performance.now() < end; await sleep(5))
      for (; sent < ((performance.now() - began) / 1_000) * rate; sent++)
        all.push(ask(rig.apps[sent % rig.apps.length]!, sent));
    await Promise.all(all);
  });
  const grown = (await memory(rig)) - before;
  const part = `overload ${TIMES}x, ${Math.round(ms / 1_000)} s`;
  figures.add(part, "capacity", capacity, "", undefined, `tokens/s, load average ${load()}`);
  figures.add(
    part,
    "offered",
    flood.asked / flood.seconds,
    "/s",
    undefined,
    `requests of ${TOKENS} tokens within ${TTL / 1_000} s`,
  );
  figures.add(
    part,
    "goodput, of capacity",
    (100 * flood.tokens) / flood.seconds / capacity,
    "%",
    { least: 9 },
    "goal 90 %, a tenth is asserted",
  );
  figures.times(part, "rejected after", flood.rejected, REJECT_MS);
  figures.add(
    part,
    "outcomes",
    flood.asked,
    "",
    undefined,
    [...flood.codes].map(([code, count]) => `${count} ${code}`).join(", "),
  );
  const downs = rig.downs.slice(calmly).map(({ instance, reason }) => `${instance}: ${reason}`);
  figures.add(part, "services that went down", downs.length, "", { most: 0 }, downs.join("; "));
  figures.add(part, "memory grown", grown, "MB", { most: GROWTH_MB });
  if (flood.late.length > 0)
    figures.add(part, "latest outcome after its deadline", quantile(flood.late, 1), "ms", { most: 100 });

  async function ask(app: App, seed: number): Promise<void> {
    const asked = performance.now();
    tally.asked += 1;
    try {
      const stream = app.client.stream(
        "model.generate",
        { model: "fox", prompt: "the quick", maxTokens: TOKENS, sample: { temperature: 1, seed: seed + 1 } },
        { ttl: TTL },
      );
      const { usage } = await stream.result;
      tally.tokens += usage.newTokens;
      note("ok");
    } catch (error) {
      if (!(error instanceof SomaError)) throw error;
      note(error.code);
      if (error.code === "EBUSY") tally.rejected.push(performance.now() - asked);
    }
    tally.late.push(performance.now() - asked - TTL);
  }
}

interface Tally {
  asked: number;
  tokens: number;
  rejected: number[];
  late: number[];
  codes: Map<string, number>;
  seconds: number;
}
let tally: Tally;
const note = (code: string) => tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1);

async function offer(_rig: Rig, ms: number, work: (until: number) => Promise<unknown>): Promise<Tally> {
  tally = { asked: 0, tokens: 0, rejected: [], late: [], codes: new Map(), seconds: 0 };
  const began = performance.now();
  await work(began + ms);
  tally.seconds = (performance.now() - began) / 1_000;
  return tally;
}

/** MB of all services together. */
async function memory(rig: Rig): Promise<number> {
  const rows = await rig.rows();
  return rows.filter(({ kind }) => kind === "service").reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0) / 1e6;
}
