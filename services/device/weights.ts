// Owns weight files on this host: where a model's lie, whether they are the right ones, and fetching them when they are not here.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { modelFiles } from "../../kernel/abi/syscalls/device.ts";

export type Weights = z.output<typeof modelFiles>["weights"];
/** Streams a blob's bytes. */
export type Fetch = (blob: string) => AsyncIterable<Uint8Array>;

/**
 * The path of weights whose SHA-256 is right: the given one, else a copy in `cache`, fetched if need be. ENOENT when they are
 * nowhere, EIO when the bytes are not the ones that were meant.
 */
export async function locateWeights(weights: Weights, cache: string, fetch: Fetch): Promise<string> {
  if (existsSync(weights.path)) {
    await check(weights.path, weights.sha256);
    return weights.path;
  }
  const copy = join(cache, weights.sha256 + extname(weights.path));
  if (existsSync(copy)) {
    await check(copy, weights.sha256);
    return copy;
  }
  if (weights.blob === undefined)
    throw new SomaError("ENOENT", `${weights.path} is not on this host and has no blob: put the file there`);
  mkdirSync(cache, { recursive: true });
  // Renamed when it is whole, so that a copy that is there is never half of one.
  const partial = `${copy}.${process.pid}`;
  try {
    await pipeline(fetch(weights.blob), createWriteStream(partial, { mode: 0o600 }));
    await check(partial, weights.sha256);
    renameSync(partial, copy);
  } finally {
    rmSync(partial, { force: true });
  }
  return copy;
}

async function check(path: string, sha256: string): Promise<void> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  const found = hash.digest("hex");
  if (found === sha256) return;
  const short = (text: string) => text.slice(0, 12);
  throw new SomaError("EIO", `${path} has SHA-256 ${short(found)}, not ${short(sha256)}: export or fetch it again`, {
    retryable: false,
    executed: "no",
  });
}
