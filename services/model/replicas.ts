// Owns the copies of a model: every device that is there loads it. The first to have it serves; the others join as they can.
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import { storeBlob } from "./blobs.ts";
import { WEIGHTS } from "./folders.ts";
import type { Loaded } from "./resident.ts";
import type { Residents, Wanted } from "./residents.ts";

type Needs = Pick<Context, "client" | "log">;

/** Resolves once one device has it. Rejects as the first device does when none can. */
export async function load(ctx: Needs, residents: Residents, id: string): Promise<Loaded> {
  const { client, log } = ctx;
  const wanted = residents.wanted(id);
  const files = await filesOf(ctx, wanted);
  const everywhere = async (): Promise<Loaded> => {
    const devices = await readyDevices(client);
    // None is there now: whichever comes back first takes it, and those that come after it are told then.
    if (devices.length === 0) return await loadOn(ctx, undefined, id, wanted, files);
    const loads = devices.map((device) => loadOn(ctx, device, id, wanted, files));
    try {
      const first = await Promise.any(loads);
      for (const [i, one] of loads.entries())
        one.catch((error) => log.info({ model: id, device: devices[i], error: error.message }, "no copy of it there"));
      return first;
    } catch (error) {
      throw (error as AggregateError).errors[0];
    }
  };
  try {
    return await everywhere();
  } catch (error) {
    // What nobody uses and no alias names makes room.
    const full = isSomaError(error, "ENOMEM") || isSomaError(error, "EAGAIN");
    if (!full || !(await residents.makeRoom())) throw error;
    return await everywhere();
  }
}

/** By path; where a device has another disk, the files go to memory once and are fetched from there. */
async function loadOn(
  { client }: Needs,
  device: string | undefined,
  id: string,
  { dir, config, dtype }: Wanted,
  files: Files,
): Promise<Loaded> {
  const options = device === undefined ? {} : { instance: device };
  const input = (named: Input<"device.load">["files"]) => ({ model: id, config, files: named, dtype });
  try {
    return await client.call("device.load", input({ dir, ...files.named }), options);
  } catch (error) {
    if (!isSomaError(error, "ENOENT") || !existsSync(files.named.weights.path)) throw error;
    return await client.call("device.load", input({ dir, ...(await files.stored()) }), options);
  }
}

type Named = Pick<Input<"device.load">["files"], "weights" | "vocabulary">;
interface Files {
  named: Named;
  /** The same with blobs, stored when they are first asked for. */
  stored: () => Promise<Named>;
}

async function filesOf({ client }: Needs, { dir, bytes, sha256, spelling }: Wanted): Promise<Files> {
  const weights = { path: join(dir, WEIGHTS), sha256, bytes };
  const vocabulary = await spelling?.();
  const store = async (file: typeof weights) => ({
    ...file,
    blob: await storeBlob(client, createReadStream(file.path), file.bytes),
  });
  let stored: Promise<Named> | undefined;
  const both = async () => ({
    weights: await store(weights),
    ...(vocabulary ? { vocabulary: await store(vocabulary) } : {}),
  });
  return { named: { weights, ...(vocabulary ? { vocabulary } : {}) }, stored: () => (stored ??= both()) };
}

/** Gives its memory back on every device. */
export async function unload({ client, log }: Needs, id: string): Promise<void> {
  const devices = await readyDevices(client);
  const unloads = devices.map(async (device) => {
    try {
      await client.call("device.unload", { model: id }, { instance: device });
    } catch (error) {
      if (!(error instanceof SomaError)) throw error;
      // Its device is gone, and the model with it; or it was never there.
      if (error.code !== "ENOENT") log.warn({ model: id, device, code: error.code }, "not unloaded");
    }
  });
  await Promise.all(unloads);
}

async function readyDevices(client: Needs["client"]): Promise<string[]> {
  const { processes } = await client.call("kernel.ps", {});
  return processes.filter(({ id, state }) => serviceOf(id) === "device" && state === "ready").map(({ id }) => id);
}
