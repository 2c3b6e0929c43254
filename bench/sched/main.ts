// What the scheduler gives and costs, in eight tables: npm run bench -- sched [--quick] [--only 1,3]
import os from "node:os";
import { parseArgs } from "node:util";
import { load } from "../figures.ts";
import { table6 } from "./decision.ts";
import { startDirect } from "./direct.ts";
import { table7 } from "./ends.ts";
import { table3 } from "./fairness.ts";
import { policies } from "./policies.ts";
import { table5 } from "./preempt.ts";
import { table4 } from "./prefix.ts";
import { table2 } from "./streams.ts";
import { startSystem } from "./system.ts";
import { table8 } from "./training.ts";
import { BLOCK_BYTES } from "./workload.ts";

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false }, only: { type: "string" } } });
const { quick } = values;
const only = values.only?.split(",").map(Number);
/** Room for table 4's agents, each with a context of its own. */
const KV_BLOCKS = 2_300;

const threads = os.availableParallelism();
const system = await startSystem(KV_BLOCKS * BLOCK_BYTES);
const auth = await system.kernel.start("auth");
const direct = await startDirect(system.path, threads, 512);
const tables: (() => Promise<string>)[] = [
  () => policies(system, direct, quick ? [1, 8, 32] : [1, 8, 32, 128, 512]),
  () => table2(system, direct, threads, quick ? 1 : 3),
  () => table3(system, quick ? { ms: 3_000, requests: 15 } : { ms: 10_000, requests: 40 }),
  () => (quick ? table4(system, 8, 500) : table4(system, 32, 1_000)),
  () => table5(system, direct, quick ? 100 : 1_000, quick ? 3 : 10),
  () => table6(system, quick ? 100 : 200),
  () => table7(system, quick ? 2 : 7),
  () => table8(system, threads, quick ? 2 : 7, quick ? 8 : 12),
];
try {
  for (const [i, table] of tables.entries())
    if (only === undefined || only.includes(i + 1)) process.stdout.write(`${await table()}\n\n`);
  if (quick)
    process.stdout.write("Quick: fewer and shorter runs than the goals are meant for; table 4 cannot reach them.\n");
  process.stdout.write(`15.2M parameters, random; ${threads} threads on each side; ${load()} at the end.\n`);
} finally {
  auth.kill("SIGKILL");
  await direct.stop();
  await system.stop();
}
