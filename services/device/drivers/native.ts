// Owns finding the drivers with native code: each lies in a folder of its own with its own packages, so that nobody has to
// install them.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Driver } from "./driver.ts";
import { loadTfjs } from "./tfjs.ts";

/** Where the drivers' folders lie. */
const FOLDERS = fileURLToPath(new URL(".", import.meta.url));

/** Loading libtensorflow takes seconds, with CUDA several; what takes longer hangs. Milliseconds. */
const PATIENCE = 30_000;

// Runs in a process of its own, in the driver's folder: native code that dies, hangs or takes memory must not do so here.
// The last line of its output is the result; the package writes there as well.
const TRIAL = `
let result;
try {
  const tf = require(process.argv[1]);
  result = { version: tf.version_core, backend: tf.getBackend() };
} catch (error) {
  result = { error: String(error.message).trim().split("\\n")[0] };
}
require("node:fs").writeSync(1, "\\n" + JSON.stringify(result));
process.exit(0);
`;

type Trial = { version: string; backend: string } | { error: string };

/**
 * The driver on npm package `addon`, a TensorFlow.js that is installed in `folders`/`name`. Its probe says whether the package
 * is there and loads, in a process of its own; only loading a model brings it into this one.
 */
export function native(name: string, addon: string, folders = FOLDERS, patience = PATIENCE): Driver {
  const probe = () => tried(name, addon, folders, patience);
  return {
    name,
    probe,
    async load(spec) {
      const { ok, why } = probe();
      if (!ok) throw new SomaError("ENOSYS", `driver ${name}: ${why}`);
      return loadTfjs(createRequire(`${folders}/${name}/package.json`)(addon), name, spec);
    },
  };
}

function tried(name: string, addon: string, folders: string, patience: number): { ok: boolean; why: string } {
  const folder = `${folders}/${name}`;
  const install = `soma driver install ${name}`;
  if (!existsSync(`${folder}/node_modules/${addon}/package.json`))
    return { ok: false, why: `not installed; "${install}" installs it` };
  const trial = tryLoad(addon, folder, patience);
  if ("error" in trial)
    return { ok: false, why: `installed, but it does not load: ${trial.error}; "${install}" installs it again` };
  const what = `TensorFlow.js ${trial.version} (backend ${trial.backend})`;
  return { ok: true, why: `${what}; Llama in f32, computes whole sequences at each step` };
}

function tryLoad(addon: string, folder: string, patience: number): Trial {
  const { error, signal, status, stdout } = spawnSync(process.execPath, ["-e", TRIAL, addon], {
    cwd: folder,
    encoding: "utf8",
    timeout: patience,
    killSignal: "SIGKILL",
    stdio: ["ignore", "pipe", "ignore"],
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ETIMEDOUT")
    return { error: `no answer within ${patience / 1000} s` };
  if (error) return { error: error.message };
  if (signal) return { error: `its native code died of ${signal}` };
  try {
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Trial;
  } catch {
    return { error: `its process ended with ${status} before it was loaded` };
  }
}
