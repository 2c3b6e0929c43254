// Owns bringing a model from a Hugging Face hub into the cache: only the files that are needed, the small ones first.
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { modelTypes } from "../../../kernel/abi/syscalls/device.ts";
import { readJson } from "../folders.ts";
import { INDEX, shardsOf } from "../weights/shards.ts";
import { download, type Hub, list, Unreachable } from "./download.ts";
import { choose, type HubFile, type Listing, parseRepo } from "./listing.ts";

export interface PullProgress {
  file: string;
  /** Bytes of all files of the model: those that are here, and all that are known so far. */
  done: number;
  total: number;
}

/**
 * The folder, or the GGUF file, with all that belongs to the model. Without a network it comes from the cache. Errors:
 * EINVAL (no repository, nothing that can be loaded, a model_type that no driver runs), ENOENT, EPERM, EIO.
 */
export async function pull(
  hub: Hub,
  cache: string,
  text: string,
  file: string | undefined,
  progress: (progress: PullProgress) => void,
): Promise<string> {
  const { repo, revision } = parseRepo(text);
  const root = join(cache, repo.replace("/", "--"));
  const listing = await listed(hub, root, repo, revision);
  const dir = join(root, listing.commit);
  const { small, weights } = choose(listing, file);
  let [done, total] = [0, 0];
  const fetchAll = async (files: readonly HubFile[]) => {
    total += files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const one of files) {
      // Repositories may hold folders; what we take has only a name here.
      await download(hub, listing, one, join(dir, basename(one.name)), (bytes) => {
        done += bytes;
        progress({ file: one.name, done, total });
      });
    }
  };
  await fetchAll(small);
  if (small.length > 0) checkType(repo, readJson(dir, "config.json"));
  const shards = small.some(({ name }) => name === INDEX) ? shardsOf(readJson(dir, INDEX)) : [];
  const missing = shards.find((shard) => !listing.files.some(({ name }) => name === shard));
  if (missing) throw new SomaError("EINVAL", `${repo} has no ${missing}, which its ${INDEX} names`);
  await fetchAll([...weights, ...listing.files.filter(({ name }) => shards.includes(name))]);
  const [gguf] = weights.filter(({ name }) => name.endsWith(".gguf"));
  return gguf ? join(dir, basename(gguf.name)) : dir;
}

/** From the hub, or as it was at the last pull where the hub cannot be reached. */
async function listed(hub: Hub, root: string, repo: string, revision: string): Promise<Listing> {
  const path = join(root, "refs", `${encodeURIComponent(revision)}.json`);
  try {
    const listing = await list(hub, repo, revision);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.new`, JSON.stringify(listing));
    await rename(`${path}.new`, path);
    return listing;
  } catch (error) {
    if (!(error instanceof Unreachable) || !existsSync(path)) throw error;
    return JSON.parse(await readFile(path, "utf8")) as Listing;
  }
}

function checkType(repo: string, { model_type: type }: Record<string, unknown>): void {
  if (modelTypes.some((known) => known === type)) return;
  throw new SomaError(
    "EINVAL",
    `${repo} is a ${type}, which no driver runs: choose a model of type ${modelTypes.join(", ")}`,
  );
}
