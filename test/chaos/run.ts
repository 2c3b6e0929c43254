// Owns a run: which faults strike, in which order, and the promises that are about all of them.
import { brokerKills, kernelKills, stopped } from "./core.ts";
import { diskFull } from "./disk.ts";
import { drain } from "./drain.ts";
import { fairShare } from "./fair.ts";
import { Figures } from "./figures.ts";
import { jobs } from "./jobs.ts";
import { kills } from "./kills.ts";
import { late } from "./late.ts";
import { Load } from "./load.ts";
import { crashLoop } from "./loop.ts";
import { overload } from "./overload.ts";
import { Rig } from "./rig.ts";
import { Work } from "./work.ts";

export interface RunOptions {
  /** Kills of each service; of the broker a fifth. */
  rounds: number;
  /** ms after which no service is killed any more, however many rounds are left. */
  within: number;
  long: boolean;
  /** Only these parts: names with commas between. */
  only?: string;
  say: (line: string) => void;
}

type Part = (rig: Rig, load: Load, figures: Figures, options: RunOptions) => Promise<void>;

/** In this order, on one system, under one load. Rounds are those of a service; what takes longer happens a fifth as often. */
const PARTS: [string, Part][] = [
  ["kills", kills],
  ["kernel", (rig, load, figures, { rounds }) => kernelKills(rig, load, figures, Math.max(3, fifth(rounds)))],
  ["broker", (rig, load, figures, { rounds }) => brokerKills(rig, load, figures, fifth(rounds))],
  ["stopped", (rig, load, figures, { rounds }) => stopped(rig, load, figures, fifth(rounds))],
  ["drain", (rig, _load, figures, { rounds }) => drain(rig, figures, fifth(rounds))],
];
/** After the load, for they bring their own. */
const ALONE: [string, (rig: Rig, figures: Figures, options: RunOptions) => Promise<void>][] = [
  ["jobs", (rig, figures) => jobs(rig, figures)],
  ["overload", (rig, figures, { long }) => overload(rig, figures, long ? 60_000 : 6_000)],
  ["fair", (rig, figures, { long }) => fairShare(rig, figures, long ? 30_000 : 6_000)],
  ["late", (_rig, figures) => late(figures)],
  ["loop", (_rig, figures) => crashLoop(figures)],
  ["disk", (_rig, figures) => diskFull(figures)],
];
const EXIT_MS = 5_000;
const fifth = (rounds: number) => Math.ceil(rounds / 5);

export async function run(options: RunOptions): Promise<Figures> {
  const { say } = options;
  const figures = new Figures();
  const rig = await Rig.start();
  const load = new Load(rig);
  const work = new Work(rig);
  try {
    await load.start();
    work.start();
    for (const [name, part] of PARTS) await timed(name, options, () => part(rig, load, figures, options));
    await work.stop();
    await load.stop();
    await work.tell(figures);
    await promises(load, figures);
    for (const [name, part] of ALONE) await timed(name, options, () => part(rig, figures, options));
  } catch (error) {
    // What was measured until then is worth having, and a load without a system would go on for ever.
    say(figures.table());
    void Promise.all([work.stop(), load.stop()]);
    throw error;
  } finally {
    figures.add("SIGTERM, all of it", "gone", await rig.stop(), "ms", { most: EXIT_MS });
  }
  return figures;
}

async function timed(name: string, { only, say }: RunOptions, part: () => Promise<void>): Promise<void> {
  if (only !== undefined && !only.split(",").includes(name)) return;
  const began = performance.now();
  await part();
  say(`${name}: ${((performance.now() - began) / 1_000).toFixed(1)} s`);
}

/** What must hold whatever happened. */
async function promises(load: Load, figures: Figures): Promise<void> {
  const { lost, doubled, acked } = await load.counted();
  const { history } = load;
  const part = "all";
  figures.add(part, "acknowledged writes lost", lost, "", { most: 0 }, `of ${acked}`);
  figures.add(part, "effects done twice", doubled, "", { most: 0 });
  figures.add(
    part,
    "streams with other tokens, or broken off",
    load.wrong.length,
    "",
    { most: 0 },
    `of ${load.streams}; ${load.wrong.slice(0, 3).join("; ")}`,
  );
  const overdue = history.late(load.lagMs);
  figures.add(
    part,
    "requests without an outcome by deadline + 100 ms",
    overdue.length,
    "",
    { most: 0 },
    overdue.slice(0, 3).join("; "),
  );
  figures.add(
    part,
    "calls",
    history.operations.length,
    "",
    undefined,
    `${history.count("ok")} ok, ${history.count("fail")} failed, ${history.count("info")} in doubt: ${history.codes()}`,
  );
}
