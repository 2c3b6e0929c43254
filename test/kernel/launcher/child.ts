// A child for tests: says what it got, then does what its first argument says.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

const [mode, detail] = process.argv.slice(2);
const modes: Record<string, () => void> = {
  wait: () => setInterval(() => undefined, 1_000),
  stubborn: () => {
    process.on("SIGTERM", () => console.log("not me"));
    setInterval(() => undefined, 1_000);
  },
  exit: () => process.exit(Number(detail)),
  secret: () =>
    console.log(`secret ${readFileSync(0, "utf8")}, limit ${process.execArgv.find((a) => a.includes("old-space"))}`),
  throw: () => {
    throw new Error("it went wrong");
  },
  parent: () => {
    console.log(`grandchild ${spawn("sleep", ["600"], { stdio: "inherit" }).pid}.`);
    setInterval(() => undefined, 1_000);
  },
  busy: () => {
    for (;;);
  },
};
console.log(
  `child ${mode} with ${Object.keys(process.env)
    .filter((name) => !name.startsWith("NODE_"))
    .sort()}`,
);
modes[mode!]!();
