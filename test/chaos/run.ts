// Owns a run: which faults strike, in which order, and the promises that are about all of them.
import { Figures } from "./figures.ts";
import { kills } from "./kills.ts";
import { Load } from "./load.ts";
import { Rig } from "./rig.ts";

export interface RunOptions {
  /** Kills of each service; of the broker a fifth. */
  rounds: number;
  long: boolean;
  /** Only parts whose name begins so. */
  only?: string;
  say: (line: string) => void;
}

type Part = (rig: Rig, load: Load, figures: Figures, options: RunOptions) => Promise<void>;

/** In this order, on one system, under one load. */
const PARTS: [string, Part][] = [["kills", (rig, load, figures, { rounds }) => kills(rig, load, figures, rounds)]];

export async function run(options: RunOptions): Promise<Figures> {
  const figures = new Figures();
  const rig = await Rig.start();
  try {
    const load = new Load(rig);
    await load.start();
    for (const [name, part] of PARTS) {
      if (options.only !== undefined && !name.startsWith(options.only)) continue;
      const began = performance.now();
      options.say(`${name} ...`);
      await part(rig, load, figures, options);
      options.say(`${name}: ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    }
    await load.stop();
    await promises(load, figures);
  } finally {
    await rig.stop();
  }
  return figures;
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
  const late = history.late(load.lagMs);
  figures.add(
    part,
    "requests without an outcome by deadline + 100 ms",
    late.length,
    "",
    { most: 0 },
    late.slice(0, 3).join("; "),
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
