// Table 5: what putting a sequence aside and going on costs, in place and from files; and whether a token ever changes.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Outbox } from "../../services/device/outbox.ts";
import type { Resident } from "../../services/device/resident.ts";
import { median } from "../figures.ts";
import type { Direct } from "./direct.ts";
import type { System } from "./system.ts";
import { sleep } from "./timing.ts";
import { atMost, type Verdict, verdicts } from "./verdict.ts";
import { prompt } from "./workload.ts";

const CONTEXT = 512;
const STEPS = 8;
const outbox = new Outbox(() => {});

/** bytes per ms of this file system, written and read again. */
function fileSpeed(bytes: number): number {
  const folder = mkdtempSync(join(tmpdir(), "soma-bench-"));
  const content = Buffer.alloc(bytes, 7);
  const from = performance.now();
  writeFileSync(join(folder, "f"), content);
  if (readFileSync(join(folder, "f")).length !== bytes) throw new Error("the file is short");
  const ms = performance.now() - from;
  rmSync(folder, { recursive: true });
  return bytes / ms;
}

async function costs(direct: Direct, rounds: number) {
  const there: Resident = direct.open();
  const ms = { undisturbed: [] as number[], inPlace: [] as number[], file: [] as number[] };
  let bytes = 0;
  for (let round = 0; round <= rounds; round++) {
    const seq = `p${round}`;
    const start = { ...direct.start({ ids: prompt(CONTEXT, 60_000 + round), maxNew: 400 }, seq), parked: true };
    const made: number[] = [];
    const quantum = async (on: Resident, fresh: boolean) => {
      const seqs = [
        { seq, ...(fresh ? { start: { ...start, ids: [...start.ids, ...made], generated: made.length } } : {}) },
      ];
      const report = await on.run(
        { quantum: `${seq}-${made.length}`, model: "direct", maxSteps: STEPS, maxMs: 1e6, tokenBudget: 128, seqs },
        outbox,
      );
      made.push(...report.seqs[0]!.newIds);
      if (report.seqs[0]!.computed !== STEPS && made.length > 5)
        throw new Error("it was not resumed but computed again");
    };
    const timed = async (what: () => Promise<void>) => {
      const from = performance.now();
      await what();
      return performance.now() - from;
    };
    await quantum(direct.resident, true);
    const undisturbed = await timed(() => quantum(direct.resident, false));
    const inPlace = await timed(() => {
      direct.resident.drop([seq], false, "park");
      return quantum(direct.resident, true);
    });
    const before = direct.resident.parking.counts.bytesWritten;
    const file = await timed(async () => {
      await direct.resident.drop([seq], false, "move");
      return quantum(there, true);
    });
    bytes = direct.resident.parking.counts.bytesWritten - before;
    there.drop([seq], false);
    if (round === 0) continue;
    ms.undisturbed.push(undisturbed);
    ms.inPlace.push(inPlace);
    ms.file.push(file);
  }
  return { undisturbed: median(ms.undisturbed), inPlace: median(ms.inPlace), file: median(ms.file), bytes };
}

/** Streams whose device is killed under them, against the same streams undisturbed: how many are equal. */
async function kills(system: System, times: number): Promise<[number, number]> {
  const input = (i: number) => ({ ids: prompt(40, 70_000 + i), maxNew: 48, sample: { temperature: 0.8, seed: i } });
  const run = () => Promise.all(Array.from({ length: 8 }, (_, i) => system.sequence(input(i))));
  const expected = await run();
  let equal = 0;
  for (let time = 0; time < times; time++) {
    const running = run();
    await sleep(150 + 100 * time);
    await system.kernel.kill("device", system.programs.device);
    system.programs.device = await system.kernel.start("device");
    await system.load();
    for (const [i, { ids }] of (await running).entries()) if (String(ids) === String(expected[i]!.ids)) equal += 1;
  }
  return [equal, 8 * times];
}

export async function table5(system: System, direct: Direct, preemptions: number, rounds: number): Promise<string> {
  const { undisturbed, inPlace, file, bytes } = await costs(direct, rounds);
  const speed = median(Array.from({ length: 5 }, () => fileSpeed(bytes)));
  const test = fileURLToPath(new URL("../../test/services/device/preempt.test.ts", import.meta.url));
  // Not spawnSync: connections to the broker are to stay alive meanwhile.
  const child = spawn(process.execPath, ["--import", "tsx", test], {
    env: { ...process.env, PREEMPTIONS: String(preemptions) },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [status] = await once(child, "exit");
  const [equal, of] = await kills(system, 3);
  const rows: Verdict[] = [
    [`quantum of ${STEPS} steps, ${CONTEXT} tokens behind, ms`, undisturbed.toFixed(1)],
    atMost("put aside and go on in place: extra, quanta", (inPlace - undisturbed) / undisturbed, 1),
    ["snapshot, MB", (bytes / 1e6).toFixed(1)],
    ["this file system, written and read, MB/s", (speed / 1e3).toFixed(0)],
    ["  time of its bytes, ms", (bytes / speed).toFixed(1)],
    atMost("from file, elsewhere: extra, ms", file - undisturbed, Math.round(bytes / speed + undisturbed), 1),
    [`${preemptions} random preemptions: all equal`, status === 0 ? "yes" : "no", "yes", status === 0],
    ["streams equal after kill -9 of the device", `${equal} of ${of}`, "all", equal === of],
  ];
  return verdicts("5. preemption", rows);
}
