// Owns the health check of a container: exit code 0 if what this container is for works. JavaScript, so that it starts in a blink.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const run = join(process.env.SOMA_HOME, "run");

/** The kernel says where it is once it serves, or that another one does; what was said before this launcher's start is old. */
function kernelServes() {
  const [started, serving, standing] = ["pid", "system.json", "health"].map(
    (file) => statSync(join(run, file), { throwIfNoEntry: false })?.mtimeMs ?? 0,
  );
  return serving >= started || (standing >= started && state() === "waiting");
}

/** A service: what supervision thinks of it. One that stands by waits in health. */
function state() {
  return readFileSync(join(run, "health"), "utf8").trim();
}

const GOOD = process.argv[2] === "standby" ? ["ready", "waiting"] : ["ready"];
try {
  const healthy = process.argv[2] === "kernel" ? kernelServes() : GOOD.includes(state());
  process.exit(healthy ? 0 : 1);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
