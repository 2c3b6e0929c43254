// Owns fetching nats-server's official release, checked against the SHA-256 sums published with it.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { install, type Program } from "./cache.ts";

export const RELEASES = "https://github.com/nats-io/nats-server/releases/download";
/** The release that we take: a fixed one, so that two machines run the same. */
export const RELEASE = "2.11.15";

/** The answer must begin within `connectMs`; after that the body may pause this long, in ms. */
const STALL = 15_000;

/** The project's names for Node's platforms and processors. */
const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = {
  x64: "amd64",
  arm64: "arm64",
  arm: "arm7",
  ia32: "386",
};
const PLATFORMS: Partial<Record<NodeJS.Platform, string>> = { linux: "linux", darwin: "darwin", freebsd: "freebsd" };

export interface ReleaseOptions {
  base: string;
  version: string;
  connectMs: number;
  say: (line: string) => void;
}

/** Downloads, checks, unpacks and files the release. Throws when one of these fails; nothing is kept then. */
export async function fetchRelease(cache: string, scratch: string, options: ReleaseOptions): Promise<Program> {
  const { base, version, say } = options;
  const platform = PLATFORMS[process.platform];
  const architecture = ARCHITECTURES[process.arch];
  if (!platform || !architecture) throw new Error(`there is no release for ${process.platform} on ${process.arch}`);
  const name = `nats-server-v${version}-${platform}-${architecture}`;
  const file = `${name}.tar.gz`;
  const sums = await new Response((await get(`${base}/v${version}/SHA256SUMS`, options)).body).text();
  const expected = shaOf(sums, file);
  if (!expected) throw new Error(`the release's SHA256SUMS does not name ${file}`);

  say(`fetching ${file}`);
  const archive = join(scratch, file);
  const hash = createHash("sha256");
  const { body, stop } = await get(`${base}/v${version}/${file}`, options);
  let stall = setTimeout(stop, STALL);
  const checked = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      clearTimeout(stall);
      stall = setTimeout(stop, STALL);
      hash.update(chunk);
      yield chunk;
    }
  };
  try {
    await pipeline(Readable.fromWeb(body as never), checked, createWriteStream(archive));
  } finally {
    clearTimeout(stall);
  }
  const actual = hash.digest("hex");
  if (actual !== expected) throw new Error(`${file} has SHA-256 ${actual}, its release says ${expected}: refused`);

  await promisify(execFile)("tar", ["-xf", archive, "-C", scratch]);
  return install(cache, scratch, join(scratch, name, "nats-server"));
}

/** Lines are "<64 hex>  <file>", with an asterisk before the file when it was read as binary. */
function shaOf(sums: string, file: string): string | undefined {
  for (const line of sums.split("\n")) {
    const [sum, name] = line.trim().split(/\s+\*?/);
    if (name === file && sum && /^[0-9a-f]{64}$/.test(sum)) return sum;
  }
  return undefined;
}

async function get(url: string, { connectMs }: ReleaseOptions) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error(`no answer within ${connectMs} ms`)), connectMs);
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
    return { body: response.body, stop: () => abort.abort(new Error(`the download stalled for ${STALL / 1000} s`)) };
  } catch (error) {
    const { cause, message } = error as Error;
    throw new Error(`${url}: ${cause instanceof Error ? cause.message : message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
