// Owns what this host has: cores, memory, GPUs. Measured once at start.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";

export interface Hardware {
  cores: number;
  memoryBytes: number;
  /** What models may take in all: weights, KV, activations. */
  budgetBytes: number;
  gpus: Record<string, unknown>[];
}

/** The rest is for the system itself, apps and the file cache. */
const SHARE = 0.7;

export function hardware(env: NodeJS.ProcessEnv = process.env): Hardware {
  const memoryBytes = memoryLimit();
  return {
    cores: os.availableParallelism(),
    memoryBytes,
    budgetBytes: bytesOf("SOMA_DEVICE_MEMORY", env) ?? Math.floor(Math.min(freeMemory(), memoryBytes) * SHARE),
    gpus: gpus(),
  };
}

const UNITS: Record<string, number> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `2g`, `512m`, `1000000`; undefined when not set, EINVAL when not understood. */
export function bytesOf(setting: string, env: NodeJS.ProcessEnv = process.env): number | undefined {
  const text = env[setting];
  if (text === undefined || text === "") return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)i?b?$/i.exec(text.trim());
  if (match === null) throw new SomaError("EINVAL", `${setting} is "${text}": use bytes, or 512m, or 2g`);
  return Math.floor(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!);
}

/** In a container its limit, elsewhere all memory. */
function memoryLimit(): number {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < os.totalmem() ? limit : os.totalmem();
}

/** What can be had without swapping: caches count as free, which os.freemem() leaves out on some systems. */
function freeMemory(): number {
  if (!existsSync("/proc/meminfo")) return os.freemem();
  const match = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
  return match === null ? os.freemem() : Number(match[1]) * 1024;
}

/** By nvidia-smi, else by what the kernel driver says. */
function gpus(): Record<string, unknown>[] {
  const fields = ["index", "name", "memory.total", "driver_version"];
  try {
    const text = execFileSync("nvidia-smi", [`--query-gpu=${fields}`, "--format=csv,noheader,nounits"], {
      encoding: "utf8",
      timeout: 5_000,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return text
      .trim()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [index, name, megabytes, driver] = line.split(",").map((field) => field.trim());
        return { index: Number(index), name, memoryBytes: Number(megabytes) * 2 ** 20, driver };
      });
  } catch {
    // No such program, or no driver behind it: both mean that it cannot tell.
    return gpusOfKernel("/proc/driver/nvidia/gpus");
  }
}

function gpusOfKernel(directory: string): Record<string, unknown>[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((bus, index) => {
    const text = readFileSync(join(directory, bus, "information"), "utf8");
    return { index, bus, name: /^Model:\s+(.+)$/m.exec(text)?.[1] ?? "NVIDIA GPU" };
  });
}
