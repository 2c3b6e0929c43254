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
  const fetched = blobOf(ctx, wanted);
  const everywhere = async (): Promise<Loaded> => {
    const devices = await readyDevices(client);
    // None is there now: whichever comes back first takes it, and those that come after it are told then.
    if (devices.length === 0) return await loadOn(ctx, undefined, id, wanted, fetched);
    const loads = devices.map((device) => loadOn(ctx, device, id, wanted, fetched));
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

/** By path; where a device has another disk, the weights go to memory once and are fetched from there. */
async function loadOn(
  { client }: Needs,
  device: string | undefined,
  id: string,
  { dir, config, bytes, sha256, dtype }: Wanted,
  fetched: () => Promise<string>,
): Promise<Loaded> {
  const path = join(dir, WEIGHTS);
  const input = (blob?: string): Input<"device.load"> => ({
    model: id,
    config,
    files: { dir, weights: { path, sha256, bytes, ...(blob ? { blob } : {}) } },
    dtype,
  });
  const options = device === undefined ? {} : { instance: device };
  try {
    return await client.call("device.load", input(), options);
  } catch (error) {
    if (!isSomaError(error, "ENOENT") || !existsSync(path)) throw error;
    return await client.call("device.load", input(await fetched()), options);
  }
}

/** The weights as a blob, stored when it is first asked for. */
function blobOf({ client }: Needs, { dir, bytes }: Wanted): () => Promise<string> {
  let blob: Promise<string> | undefined;
  return () => {
    blob ??= storeBlob(client, createReadStream(join(dir, WEIGHTS)), bytes);
    return blob;
  };
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
