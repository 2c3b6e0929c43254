// Owns fetching from a Hugging Face hub: its listing, and files that go on where they were cut off and must have the right sum.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { type HubFile, type Listing, parseListing } from "./listing.ts";

export interface Hub {
  /** Without a slash at its end. */
  endpoint: string;
  token?: string;
  /** How often in a row a file may be cut off without a byte more, and the pause before the next try in ms. */
  tries: number;
  pauseMs: number;
  signal: AbortSignal;
}

/** The hub could not be reached, as opposed to: it refused. */
export class Unreachable extends SomaError {}

function checkStopped({ signal }: Hub): void {
  if (signal.aborted) throw new SomaError("ECANCELED", "the download was stopped: run the command again to go on");
}

async function ask(hub: Hub, path: string, headers: Record<string, string> = {}): Promise<Response> {
  const url = `${hub.endpoint}/${path}`;
  let response: Response;
  try {
    const authorization: Record<string, string> = hub.token ? { authorization: `Bearer ${hub.token}` } : {};
    response = await fetch(url, { headers: { ...authorization, ...headers }, signal: hub.signal });
  } catch (cause) {
    checkStopped(hub);
    const why = `cannot reach ${hub.endpoint} (${((cause as Error).cause as Error)?.message ?? (cause as Error).message})`;
    throw new Unreachable("EIO", `${why}: check the network and HF_ENDPOINT`, { cause, executed: "no" });
  }
  const { status } = response;
  if (response.ok || status === 416) return response;
  await response.body?.cancel();
  if (status === 401 || status === 403) {
    const next = hub.token ? "its token (HF_TOKEN) does not open it" : "set HF_TOKEN, then start soma again";
    throw new SomaError("EPERM", `${url} needs leave (HTTP ${status}): ${next}`);
  }
  if (status === 404) throw new SomaError("ENOENT", `${url} is not there (HTTP 404): check owner, name and revision`);
  const what = `${url} answers HTTP ${status}: try again later`;
  if (status === 429 || status >= 500) throw new Unreachable("EIO", what, { executed: "no", retryable: true });
  throw new SomaError("EIO", what, { executed: "no" });
}

/** What a repository holds. ENOENT, EPERM; Unreachable without a network. */
export async function list(hub: Hub, repo: string, revision: string): Promise<Listing> {
  const response = await ask(hub, `api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`);
  return parseListing(repo, await response.json().catch(() => undefined));
}

/**
 * Brings a file to `path`, unless it lies there already. What was fetched before a break stays in `<path>.partial` and is
 * not fetched again. `got` hears of bytes as they come. EIO when the sum is wrong: the bytes are then thrown away.
 */
export async function download(
  hub: Hub,
  { repo, commit }: Pick<Listing, "repo" | "commit">,
  file: HubFile,
  path: string,
  got: (bytes: number) => void,
): Promise<void> {
  if (existsSync(path)) return got(file.bytes);
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.partial`;
  const name = file.name.split("/").map(encodeURIComponent).join("/");
  let have = sizeOf(partial);
  if (have > file.bytes) have = restart(partial);
  got(have);
  for (let idle = 0; have < file.bytes || !existsSync(partial); ) {
    const before = have;
    try {
      const response = await ask(hub, `${repo}/resolve/${commit}/${name}`, have > 0 ? { range: `bytes=${have}-` } : {});
      // A server that knows no ranges sends everything, one that finds ours wrong nothing: both times from the start.
      if (have > 0 && response.status !== 206) {
        got(-have);
        have = restart(partial);
      }
      if (response.status === 416) continue;
      const counted = Readable.fromWeb(response.body as ReadableStream).on("data", ({ length }: Buffer) => {
        have += length;
        got(length);
      });
      await pipeline(counted, createWriteStream(partial, { flags: have > 0 ? "a" : "w" }), { signal: hub.signal });
    } catch (error) {
      checkStopped(hub);
      if (error instanceof SomaError && !(error instanceof Unreachable)) throw error;
      // What was counted and what reached the disk may differ by what was under way.
      got(sizeOf(partial) - have);
      have = sizeOf(partial);
      idle = have > before ? 0 : idle + 1;
      if (idle >= hub.tries) {
        const what = `${file.name} was cut off after ${have} of ${file.bytes} bytes: run the command again to go on`;
        throw new SomaError("EIO", what, { cause: error, executed: "no", retryable: true });
      }
      await new Promise((resolve) => setTimeout(resolve, hub.pauseMs));
    }
    if (have > file.bytes) break;
  }
  if (!(await isRight(partial, file))) {
    rmSync(partial, { force: true });
    const what = `${file.name} of ${repo} has a wrong checksum; it was thrown away: run the command again`;
    throw new SomaError("EIO", what, { executed: "no", retryable: true });
  }
  renameSync(partial, path);
}

const sizeOf = (path: string): number => (existsSync(path) ? statSync(path).size : 0);

function restart(partial: string): 0 {
  rmSync(partial, { force: true });
  return 0;
}

async function isRight(path: string, { bytes, sha256, sha1 }: HubFile): Promise<boolean> {
  if (sizeOf(path) !== bytes) return false;
  const hash = createHash(sha256 ? "sha256" : "sha1");
  if (!sha256) hash.update(`blob ${bytes}\0`);
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  const found = hash.digest("hex");
  return sha256 ? found === sha256 : sha1 === undefined || found === sha1;
}
