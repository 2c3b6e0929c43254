// Owns `npm run chaos`: boots the real system, lets faults happen to it under load, prints what was measured. Code 1 if a promise was broken.
// Usage: npm run chaos [-- --long] [--write] [--rounds N] [--only PART]
import { parseArgs } from "node:util";
import { run } from "./run.ts";

const { values } = parseArgs({
  options: {
    long: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string" },
  },
});
const figures = await run({
  rounds: Number(values.rounds ?? (values.long ? 100 : 5)),
  long: values.long,
  ...(values.only === undefined ? {} : { only: values.only }),
  say: (line) => console.error(line),
});
console.log(figures.table());
const broken = figures.broken();
for (const { part, what } of broken) console.error(`broken: ${part}: ${what}`);
process.exit(broken.length === 0 ? 0 : 1);
