// Owns what the doctor looks at on this machine, whether a system runs or not: program versions, memory, disk, secrets, ports, GPU.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { homedir, totalmem } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { compareVersions, isGoodEnough, MINIMUM } from "../../../kernel/abi/broker.ts";
import { driverFolders } from "../drivers.ts";
import { bytes } from "../render/units.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const MB = 2 ** 20;
/** Below the first Soma fails, below the second it is tight. A training and its checkpoints fit into the second. */
const MEMORY = [400 * MB, 1536 * MB] as const;
const DISK = [300 * MB, 2048 * MB] as const;
/** Where `soma gateway` listens unless told otherwise. */
const GATEWAY_PORT = 11435;

export function nodeVersion(version = process.versions.node): Finding {
  const major = Number(version.split(".")[0]);
  if (major < 20) return fail("node", `Node ${version} is too old`, "install Node 20 or later");
  if (major >= 23)
    return warn("node", `Node ${version}: the tfjs drivers have no binding for it`, "use Node 20 or 22 for tfjs-node");
  return ok("node", `Node ${version}`);
}

/** `what` is free of some resource, in bytes. */
export function room(check: string, free: number, [least, tight]: readonly [number, number], todo: string): Finding {
  const what = `${bytes(free)} free`;
  if (free < least) return fail(check, `${what}, ${bytes(least)} are needed`, todo);
  return free < tight ? warn(check, `${what}: that is tight`, todo) : ok(check, what);
}

export function memory(): Finding {
  const todo = "end other programs, or bound Soma with SOMA_DEVICE_MEMORY";
  return room("memory", Math.min(available(), process.constrainedMemory() || Infinity), MEMORY, todo);
}

/** What can be had without swapping, bytes. os.freemem leaves out what the page cache would give back. */
function available(): number {
  if (!existsSync("/proc/meminfo")) return totalmem();
  const kilobytes = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return kilobytes === undefined ? totalmem() : Number(kilobytes) * 1024;
}

export function disk(home: string): Finding {
  let at = home;
  while (!existsSync(at)) at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return room("disk", bavail * bsize, DISK, `make room on the disk of ${at}, or set SOMA_HOME elsewhere`);
}

/** Parts of the home that nobody else may read. */
const SECRETS = ["keys", "contexts", "person.creds", "run/broker.conf"];

export function secrets(home: string): Finding {
  if (process.platform === "win32" || !existsSync(home)) return ok("secrets", "none here yet");
  const files = SECRETS.map((part) => join(home, part))
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      statSync(path).isDirectory() ? [path, ...readdirSync(path).map((name) => join(path, name))] : [path],
    );
  const open = [home, ...files].filter((path) => (statSync(path).mode & 0o077) !== 0);
  if (open.length === 0) return ok("secrets", `${files.length} files and folders are for you alone`);
  const more = open.length > 3 ? ` and ${open.length - 3} more` : "";
  const what = `others may read ${open.slice(0, 3).join(", ")}${more}`;
  return fail(
    "secrets",
    what,
    `chmod -R go-rwx ${home}; if others use this machine, "soma reset --yes" makes new keys`,
  );
}

/** Whether the gateway's port is free. */
export async function port(number = GATEWAY_PORT): Promise<Finding> {
  const at = `127.0.0.1:${number}`;
  const problem = await listenProblem(number);
  if (problem === undefined) return ok("ports", `${at} is free for the gateway`);
  if (problem !== "EADDRINUSE")
    return fail("ports", `cannot listen at ${at}: ${problem}`, "allow listening on 127.0.0.1");
  return warn("ports", `${at} is taken`, 'if that is not your "soma gateway", give yours another --port');
}

function listenProblem(number: number): Promise<string | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", ({ code = "error" }: NodeJS.ErrnoException) => resolve(code));
    server.listen(number, "127.0.0.1", () => server.close(() => resolve(undefined)));
  });
}

/** The nats-server that a start would take: on PATH, else in a cache. */
export function brokerProgram(home: string, path = process.env.PATH ?? ""): Finding {
  const caches = [join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "soma"), join(home, "cache")];
  const cached = caches
    .map((cache) => join(cache, "nats-server"))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((version) => join(folder, version, "nats-server")));
  const found: string[] = [];
  for (const program of [...path.split(delimiter).map((folder) => join(folder, "nats-server")), ...cached]) {
    if (!existsSync(program)) continue;
    const said = spawnSync(program, ["--version"], { encoding: "utf8", timeout: 10_000 }).stdout ?? "";
    const version = /v(\d+\.\d+\.\d+(?:-[\w.]+)?)/.exec(said)?.[1];
    if (version !== undefined && isGoodEnough(version)) return ok("broker", `nats-server ${version} at ${program}`);
    found.push(version ?? `one that does not run at ${program}`);
  }
  const newest = found.sort(compareVersions).at(-1);
  if (newest === undefined)
    return warn("broker", "no nats-server here yet", "the first start fetches it; offline, put one on PATH");
  return warn("broker", `nats-server ${newest}: ${MINIMUM} is needed`, "the next start fetches one; or update it");
}

/** What the folders tell of drivers; a running device knows more. */
export function driversHere(): Finding {
  const installed = driverFolders().filter((driver) => driver.installed);
  const names = ["wasm (built in)", ...installed.map(({ name }) => name)];
  return ok("drivers", `${names.join(", ")}; the device tries them when it starts`);
}

export function gpu(program = "nvidia-smi"): Finding {
  const query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"];
  const { error, status, stdout, stderr } = spawnSync(program, query, { encoding: "utf8", timeout: 10_000 });
  if (error) return ok("gpu", "no NVIDIA driver here: models run on the CPU");
  if (status !== 0) {
    const line = (stdout || stderr).trim().split("\n")[0];
    return warn("gpu", `nvidia-smi fails: ${line}`, "mend the NVIDIA driver; models run on the CPU until then");
  }
  const gpus = stdout.trim().split("\n");
  if (driverFolders().some(({ name, installed }) => name === "tfjs-node-gpu" && installed))
    return ok("gpu", gpus.join("; "));
  return warn("gpu", `${gpus.join("; ")}, not used`, '"soma driver install tfjs-node-gpu", then "soma restart device"');
}
