// What two parts of one device get of its CPUs while both want all of it, before and after a resize: npm run bench -- vdev [--quick]
import { parseArgs } from "node:util";
import { load } from "../figures.ts";
import { startSystem } from "../sched/system.ts";
import { atMost, type Verdict, verdicts } from "../sched/verdict.ts";
import { measureParts, split } from "./shares.ts";

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false } } });
const ms = values.quick ? 3_000 : 10_000;
const system = await startSystem(64_000_000);
try {
  const rows: Verdict[] = [];
  await split(system, 70);
  const live = async () => split(system, 30);
  for (const { due, cpu, time } of await measureParts(system, ms, live)) {
    rows.push([`a=${due}% b=${100 - due}%: CPU time of a, %`, (100 * cpu).toFixed(1)]);
    rows.push(["  device time of a, %", (100 * time).toFixed(1)]);
    rows.push(atMost("  CPU time off by, points", Math.abs(100 * cpu - due), 5, 1));
  }
  process.stdout.write(`${verdicts(`parts of a device, ${ms / 1000} s each`, rows)}\n\n${load()} at the end.\n`);
} finally {
  await system.stop();
}
