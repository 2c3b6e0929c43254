// How long search takes and what it needs: the memory service itself on a real broker, rows of random vectors and made-up texts.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { startKernel } from "../../test/helpers/kernel.ts";
import { startWorld } from "../../test/helpers/world.ts";
import { load, median } from "../figures.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "100000" },
    dims: { type: "string", default: "384" },
    /** Words of each text; 0: vectors alone. */
    words: { type: "string", default: "20" },
    searches: { type: "string", default: "20" },
  },
});
const [rows, dims, words, searches] = [values.rows, values.dims, values.words, values.searches].map(Number) as [
  number,
  number,
  number,
  number,
];
/** As many as fit into a message. */
const BATCH = Math.max(1, Math.floor(400_000 / (4 * dims + 8 * words + 64)));

let state = 1;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const vector = () =>
  new Uint8Array(Float32Array.from({ length: dims }, () => random() + random() + random() - 1.5).buffer);
// Zipf's law, roughly: a few words are in most texts.
const word = () => `w${Math.floor(20_000 ** random())}`;
const text = (count: number) => Array.from({ length: count }, word).join(" ");
const kinds = ["a", "b", "c", "d"];

const world = await startWorld({ stores: true });
const kernel = await startKernel(world, { ps: () => ({ processes: [] }) });
try {
  let program = await kernel.start("memory");
  const person = await world.client("person");
  const rss = () =>
    Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${program.pid}/status`, "utf8"))![1]) / 1024);
  const row = (name: string, value: string) => console.log(`${name.padEnd(44)}${value.padStart(12)}`);
  const ms = (time: number) => `${time.toFixed(time < 100 ? 1 : 0)} ms`;
  const timed = async (work: () => Promise<unknown>) => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };
  const search = async (name: string, query: () => object) => {
    const first = await timed(() => person.call("memory.search", query(), { ttl: 120_000 }));
    const times: number[] = [];
    for (let i = 0; i < searches; i++) times.push(await timed(() => person.call("memory.search", query())));
    row(`search ${name}, first`, ms(first));
    row(`search ${name}`, ms(median(times)));
  };

  row("resident before", `${rss()} MB`);
  let slowest = 0;
  const all = await timed(async () => {
    for (let at = 0; at < rows; at += BATCH) {
      const batch = Array.from({ length: Math.min(BATCH, rows - at) }, (_, i) => ({
        ...{ id: `row-${at + i}`, vector: vector(), meta: { kind: kinds[(at + i) % 4]! } },
        ...(words > 0 && { text: text(words) }),
      }));
      slowest = Math.max(slowest, await timed(() => person.call("memory.index", { rows: batch })));
    }
  });
  row(`index ${rows} rows of ${dims} floats, ${words} words`, ms(all));
  row(`  the slowest of the calls with ${BATCH} rows`, ms(slowest));
  row("  stored", `${((await person.call("memory.collections", {})).collections[0]!.bytes / 2 ** 20).toFixed(0)} MB`);
  await kernel.kill("memory", program);
  program = await kernel.start("memory");
  await search("by vector", () => ({ vector: vector(), limit: 10 }));
  await search("by vector, of one kind in 4", () => ({ vector: vector(), limit: 10, where: { kind: "c" } }));
  row("resident with vectors", `${rss()} MB`);
  if (words > 0) {
    await search("by 3 words", () => ({ text: text(3), limit: 10 }));
    await search("by both", () => ({ text: text(3), vector: vector(), limit: 10 }));
    row("resident with words", `${rss()} MB`);
  }
  const { figures } = await person.call("memory.stat", {});
  row(
    "  memory.stat says loaded",
    `${((figures.search as { loadedBytes: number }).loadedBytes / 2 ** 20).toFixed(0)} MB`,
  );
  console.log(
    `\nMedian of ${searches}, over the bus; "first" reads the collection, or indexes its words. ${load()} at the end.`,
  );
} finally {
  await kernel.stop();
  await world.stop();
}
process.exit();
