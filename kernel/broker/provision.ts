// Owns finding a nats-server that is good enough: on PATH, cached, released, or packaged; in this order.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { isGoodEnough, MINIMUM } from "../abi/broker.ts";
import { newestCached, type Program, withScratch } from "./cache.ts";
import { fetchDebian } from "./debian.ts";
import { fetchRelease, RELEASE, RELEASES } from "./release.ts";
import { versionOf } from "./version.ts";

export interface ProvisionOptions {
  /** Looked through in this order; the first that can be written takes what is fetched. */
  caches: readonly string[];
  /** Hears what goes on, a line at a time. */
  say?: (line: string) => void;
  /** Directories as in $PATH. */
  path?: string;
  /** Where releases are: <releases>/v<version>/<file>. */
  releases?: string;
  version?: string;
  /** How long a server may take to begin its answer. */
  connectMs?: number;
  /** Which ways to try, in this order. */
  ways?: readonly Way[];
}

export interface Provisioned extends Program {
  from: Way;
}

type Settings = Required<ProvisionOptions>;
type Find = (settings: Settings) => Promise<Program | undefined>;

/** A way gives a program, or undefined when it has none to offer, or throws when it failed. */
const WAYS = {
  path: onPath,
  cache: ({ caches, say }) => newestCached(caches, say),
  release: ({ caches, releases: base, version, connectMs, say }) =>
    withScratch(caches, (cache, scratch) => fetchRelease(cache, scratch, { base, version, connectMs, say })),
  debian: ({ caches, connectMs, say }) =>
    withScratch(caches, (cache, scratch) => fetchDebian(cache, scratch, { connectMs, say })),
} as const satisfies Record<string, Find>;
export type Way = keyof typeof WAYS;

/** The first program that is good enough. Throws one error that tells what each way lacked and what to do. */
export async function provision(options: ProvisionOptions): Promise<Provisioned> {
  const settings: Settings = {
    say: () => undefined,
    path: process.env.PATH ?? "",
    releases: RELEASES,
    version: RELEASE,
    connectMs: 3_000,
    ways: Object.keys(WAYS) as Way[],
    ...options,
  };
  const failures: string[] = [];
  for (const way of settings.ways) {
    try {
      const program = await WAYS[way](settings);
      if (program) return { ...program, from: way };
      failures.push(`${way}: none of ${MINIMUM} or later`);
    } catch (error) {
      const line = `${way}: ${(error as Error).message}`;
      settings.say(line);
      failures.push(line);
    }
  }
  throw new Error(
    [
      `no nats-server of ${MINIMUM} or later:`,
      ...failures.map((line) => `  ${line}`),
      "Do one of these: put nats-server on PATH; connect to the network and start again; set NATS_URL to a running broker;",
      `put the program at ${join(settings.caches[0] ?? "<cache>", "nats-server", "<version>", "nats-server")}.`,
    ].join("\n"),
  );
}

async function onPath({ path, say }: Settings): Promise<Program | undefined> {
  for (const directory of path.split(delimiter).filter(Boolean)) {
    const program = join(directory, "nats-server");
    try {
      accessSync(program, constants.X_OK);
    } catch {
      continue; // Not in this directory, as in most.
    }
    try {
      const version = await versionOf(program);
      if (isGoodEnough(version)) return { path: program, version };
      say(`${program} is ${version}: skipped, ${MINIMUM} or later is needed`);
    } catch (error) {
      say(`${program} does not run (${(error as Error).message.split("\n")[0]}): skipped`);
    }
  }
  return undefined;
}
