// Owns reading a model's parameters as f32, one tensor at a time.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Parameter } from "../engine/architecture.ts";
import { openWeights } from "../weights/open.ts";

/** One by one, so that only one lies in the heap twice. ENOENT, or EINVAL when one is missing or has another shape. */
export function* readTensors(
  path: string,
  parameters: readonly Parameter[],
): Generator<{ name: string; shape: number[]; data: Float32Array }> {
  const source = openWeights(path);
  try {
    for (const { name, shape } of parameters) {
      const found = source.shape(name);
      if (String(found) !== String(shape))
        throw new SomaError(
          "EINVAL",
          `${path}: ${name} must have shape [${shape}] and ${found ? `has [${found}]` : "is missing"}`,
        );
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      source.read(name, 0, shape[0]!, data);
      yield { name, shape, data };
    }
  } finally {
    source.close();
  }
}
