// Owns the choice of a reader for a path. A format is one line here.
import { openSafetensors } from "./safetensors.ts";
import type { WeightSource } from "./source.ts";

/** Opens the weights at `path`; the caller closes them. ENOENT, or EINVAL with what is wrong with the file. */
export function openWeights(path: string): WeightSource {
  return openSafetensors(path);
}
