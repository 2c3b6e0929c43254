// Owns the cached nats-server programs: <cache>/nats-server/<version>/nats-server.
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { compareVersions, isGoodEnough } from "../abi/broker.ts";
import { versionOf } from "./version.ts";

export interface Program {
  path: string;
  version: string;
}

/** The newest good one in the caches, or undefined. One that does not run any more (another machine's) is passed over. */
export async function newestCached(
  caches: readonly string[],
  say: (line: string) => void,
): Promise<Program | undefined> {
  const found = caches.flatMap((cache) => {
    const root = join(cache, "nats-server");
    return versionsIn(root).map((version) => ({ version, path: join(root, version, "nats-server") }));
  });
  for (const program of found
    .filter((p) => isGoodEnough(p.version))
    .sort((a, b) => compareVersions(b.version, a.version))) {
    try {
      if ((await versionOf(program.path)) === program.version) return program;
      say(`${program.path} is not the version its directory says: passed over`);
    } catch (error) {
      say(`${program.path} does not run (${(error as Error).message.split("\n")[0]}): passed over`);
    }
  }
  return undefined;
}

function versionsIn(root: string): string[] {
  try {
    return readdirSync(root).filter((name) => /^\d+\.\d+\.\d+/.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Gives `work` a scratch directory in the first cache that can be written, and removes it afterwards. */
export async function withScratch<T>(
  caches: readonly string[],
  work: (cache: string, scratch: string) => Promise<T>,
): Promise<T> {
  const [cache, scratch] = firstWritable(caches);
  try {
    return await work(cache, scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function firstWritable(caches: readonly string[]): [string, string] {
  const errors: unknown[] = [];
  for (const cache of caches) {
    try {
      mkdirSync(cache, { recursive: true, mode: 0o700 });
      return [cache, mkdtempSync(join(cache, "fetch-"))];
    } catch (error) {
      errors.push(error);
    }
  }
  throw new AggregateError(errors, `no cache can be written: make one of ${caches.join(", ")} writable`);
}

/** Files a program that runs and is good enough; whole or not at all. */
export async function install(cache: string, scratch: string, program: string): Promise<Program> {
  chmodSync(program, 0o755);
  const version = await versionOf(program);
  if (!isGoodEnough(version)) throw new Error(`it is ${version}, too old`);
  const directory = join(cache, "nats-server", version);
  const path = join(directory, "nats-server");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const draft = join(scratch, "install");
  copyFileSync(program, draft);
  renameSync(draft, path);
  return { path, version };
}
