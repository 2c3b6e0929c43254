// Owns checkpoints in several files, as model.safetensors.index.json names them: joined into one model.safetensors.
import { createReadStream, existsSync } from "node:fs";
import { basename, join } from "node:path";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { readJson } from "../folders.ts";
import { readHeader } from "../safetensors.ts";
import { type TensorSource, WIDTHS, writeTensors } from "./write.ts";

export const INDEX = "model.safetensors.index.json";

/** The files that an index names. EINVAL when it names none, or one outside its folder. */
export function shardsOf(index: Record<string, unknown>): string[] {
  const shards = [...new Set(Object.values((index.weight_map ?? {}) as Record<string, unknown>))].map(String).sort();
  const wrong = shards.find((name) => name !== basename(name) || !name.endsWith(".safetensors"));
  if (shards.length > 0 && wrong === undefined) return shards;
  throw new SomaError("EINVAL", `${INDEX} ${wrong ? `names "${wrong}"` : "names no files"}: fetch the file again`);
}

/** Writes the tensors of all shards in `dir` to one file. ENOENT names the shard that is missing, EINVAL the tensor. */
export async function joinShards(dir: string, to: string): Promise<void> {
  const index = readJson(dir, INDEX);
  const map = index.weight_map as Record<string, string>;
  const tensors = shardsOf(index).flatMap((shard): TensorSource[] => {
    const path = join(dir, shard);
    if (!existsSync(path)) throw new SomaError("ENOENT", `${dir} has no ${shard}, which ${INDEX} names: fetch it too`);
    return readHeader(path).map(({ name, dtype, shape, begin, end }) => {
      if (!Object.hasOwn(WIDTHS, dtype))
        throw new SomaError("EINVAL", `${shard}: ${name} is ${dtype}; weights must be F32, F16 or BF16`);
      const pieces = () => createReadStream(path, { start: begin, end: end - 1, highWaterMark: 1 << 20 });
      return { name, dtype: dtype as TensorSource["dtype"], shape, pieces };
    });
  });
  const found = new Set(tensors.map(({ name }) => name));
  const missing = Object.keys(map).find((name) => !found.has(name));
  if (missing) throw new SomaError("EINVAL", `${map[missing]} has no ${missing}, which ${INDEX} puts there`);
  await writeTensors(to, tensors);
}
