// Owns the folders of the drivers that are installed on demand: which there are, whether they are installed, installing one.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SomaError } from "../../kernel/abi/errors.ts";

/** Where they lie; the device service looks there too. */
export const FOLDERS = fileURLToPath(new URL("../../services/device/drivers/", import.meta.url));

export interface DriverFolder {
  name: string;
  /** The npm package that the driver is. */
  addon: string;
  installed: boolean;
}

/** Every folder with packages of its own, by name. */
export function driverFolders(folders = FOLDERS): DriverFolder[] {
  const names = readdirSync(folders).filter((name) => existsSync(join(folders, name, "package.json")));
  return names.sort().map((name) => {
    const { dependencies } = JSON.parse(readFileSync(join(folders, name, "package.json"), "utf8"));
    const addon = Object.keys(dependencies)[0]!;
    return { name, addon, installed: existsSync(join(folders, name, "node_modules", addon, "package.json")) };
  });
}

/** What npm's output shows of how far it came, latest first, and what to do when it ends there. */
const STAGES: readonly (readonly [seen: RegExp, failed: string, todo: string])[] = [
  [
    /Building TensorFlow Node\.js bindings/,
    "its addon could not be fetched or compiled",
    "install python3, make and a C++ compiler for node-gyp, and try again",
  ],
  [
    /Downloading libtensorflow/,
    "libtensorflow could not be fetched",
    "name a mirror in TFJS_NODE_BASE_URI, or install it by hand as services/device/drivers/README.md says",
  ],
  [/^/, "npm could not get its packages", "check npm's registry and proxy settings, and try again"],
];

export interface Install {
  /** One line of npm's, as it comes. */
  progress(line: string): void;
  signal: AbortSignal;
  folders?: string;
  /** The program to run, with what comes before npm's own arguments. */
  npm?: readonly [program: string, ...args: string[]];
}

/** Runs npm in the driver's folder. ENOENT: no such driver; EIO: npm failed, at which stage, and what to do; ECANCELED. */
export async function installDriver(name: string, { progress, signal, ...given }: Install): Promise<DriverFolder> {
  const { folders = FOLDERS, npm: [program, ...before] = ["npm"] } = given;
  const known = driverFolders(folders);
  if (!known.some((driver) => driver.name === name)) {
    const names = known.map((driver) => driver.name).join(", ");
    throw new SomaError("ENOENT", `no driver "${name}" to install: use one of ${names}`);
  }
  const cwd = join(folders, name);
  const verb = existsSync(join(cwd, "package-lock.json")) ? "ci" : "install";
  const args = [...before, verb, "--no-audit", "--no-fund", "--foreground-scripts"];
  const lines: string[] = [];
  const note = (line: string) => {
    lines.push(line);
    progress(line);
  };
  const npm = spawn(program, args, { cwd, signal, stdio: ["ignore", "pipe", "pipe"] });
  for (const input of [npm.stdout, npm.stderr]) createInterface({ input }).on("line", note);
  const code = await new Promise<number | null>((resolve, reject) => {
    npm.once("error", (cause) => {
      if (signal.aborted) reject(new SomaError("ECANCELED", `the installation of ${name} was stopped`, { cause }));
      else reject(new SomaError("EIO", `${program} did not start (${cause.message}): is it on the PATH?`, { cause }));
    });
    npm.once("close", resolve);
  });
  if (code !== 0) throw new SomaError("EIO", `driver ${name}: ${diagnosis(lines)}`, { retryable: false });
  const driver = driverFolders(folders).find((one) => one.name === name)!;
  if (!driver.installed) throw new Error(`npm ended well but ${driver.addon} is not in ${cwd}`);
  return driver;
}

/** One line: how far it came, the first error, what to do. */
function diagnosis(lines: readonly string[]): string {
  const [, failed, todo] = STAGES.find(([seen]) => lines.some((line) => seen.test(line))) ?? STAGES.at(-1)!;
  const error = lines
    .map(
      (line) =>
        /^(?:Error|npm error|npm ERR!|node-pre-gyp ERR!|node-pre-gyp install failed with error):? (.*)/.exec(line)?.[1],
    )
    .find((text) => text && !/^(code|path|command|A complete log)\b/.test(text));
  return `${failed}${error ? ` (${error})` : ""}: ${todo}`;
}
