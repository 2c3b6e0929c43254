// Owns `npm run chaos`: boots the real system, lets faults happen to it under load, prints what was measured. Code 1 if a promise was broken.
// Usage: npm run chaos [-- --long] [--write] [--rounds N] [--minutes N] [--only PART]
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { load } from "./figures.ts";
import { run } from "./run.ts";

const DOCS = fileURLToPath(new URL("../../docs/faults.md", import.meta.url));

const { values } = parseArgs({
  options: {
    long: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    rounds: { type: "string" },
    minutes: { type: "string" },
    only: { type: "string" },
  },
});
const figures = await run({
  rounds: Number(values.rounds ?? (values.long ? 100 : 5)),
  within: Number(values.minutes ?? Number.POSITIVE_INFINITY) * 60_000,
  long: values.long,
  ...(values.only === undefined ? {} : { only: values.only }),
  say: (line) => console.error(line),
});
console.log(figures.table());
if (values.write) {
  const text = readFileSync(DOCS, "utf8");
  const command = `npm run chaos -- ${process.argv.slice(2).join(" ")}`;
  const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GB, load average ${load()} at the end`;
  const name = values.long ? "long" : "table";
  const block = new RegExp(`<!-- ${name} -->[\\s\\S]*?<!-- end -->`);
  // Parts that did not run keep the rows that they have.
  const parts = new Set(["fault", "---", ...figures.all.map(({ part }) => part)]);
  const kept = (block.exec(text)?.[0] ?? "").split("\n").filter((line) => {
    const [, part] = /^\| (.*?) \|/.exec(line) ?? [];
    return part !== undefined && !parts.has(part);
  });
  const before = kept.length > 0 ? `; from an earlier run: the last ${kept.length} rows` : "";
  const rows = [figures.table(), ...kept].join("\n");
  const table = `<!-- ${name} -->\n\`${command}\` on ${machine}${before}:\n\n${rows}\n<!-- end -->`;
  writeFileSync(
    DOCS,
    text.replace(block, () => table),
  );
}
const broken = figures.broken();
for (const { part, what } of broken) console.error(`broken: ${part}: ${what}`);
process.exit(broken.length === 0 ? 0 : 1);
