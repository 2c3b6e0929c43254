// Owns `npm run bench -- NAME`: the table of benchmarks, and the machine that their figures were taken on.
import { spawnSync } from "node:child_process";
import { cpus, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";

/** name -> [what it measures, programs, one after another]. */
const BENCHES: Record<string, [string, string[]]> = {
  grants: ["how soon a revoked client is cut off, of 100", ["grants/revoke.ts"]],
  tensor: ["training and decoding against PyTorch, bandwidth and themselves", ["tensor/train.ts", "tensor/decode.ts"]],
  search: ["rows put into a collection and found by vector, by words, by both", ["memory/search.ts"]],
  sched: ["policies, batching, fairness, shared prefixes, preemption, decisions of the scheduler", ["sched/main.ts"]],
  vdev: ["what parts of one device get of its CPUs, before and after a resize", ["vdev/main.ts"]],
  grammar: ["what holding a text to a JSON Schema costs each token", ["grammar/main.ts"]],
  syscall: ["what permissions and the audit add to one call", ["syscall/cost.ts"]],
};

const [name = "", ...rest] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench === undefined) {
  const rows = Object.entries(BENCHES).map(([key, [what]]) => `  ${key.padEnd(10)} ${what}`);
  process.stdout.write(`Usage: npm run bench -- NAME\n\n${rows.join("\n")}\n`);
  process.exit(name === "" ? 0 : 64);
}
const [cpu] = cpus();
process.stdout.write(
  `${cpus().length} x ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.versions.node}, load ${loadavg()[0]!.toFixed(1)}\n\n`,
);
for (const program of bench[1]) {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const { status } = spawnSync(process.execPath, ["--import", "tsx", path, ...rest], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
