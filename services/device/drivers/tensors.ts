// Owns reading a model's parameters from model.safetensors, one tensor at a time, as f32.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Parameter } from "../engine/architecture.ts";
import { readFloats, readHeader } from "../engine/safetensors.ts";

/** One by one, so that only one lies in the heap twice. ENOENT, or EINVAL when one is missing or has another shape. */
export function* readTensors(
  path: string,
  parameters: readonly Parameter[],
): Generator<{ name: string; shape: number[]; data: Float32Array }> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    throw new SomaError("ENOENT", `cannot open the weights ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = (at: number, count: number) => {
      const buffer = new Uint8Array(count);
      return buffer.subarray(0, count === 0 ? 0 : readSync(fd, buffer, 0, count, at));
    };
    const length = size < 8 ? 0 : Number(Buffer.from(bytes(0, 8)).readBigUInt64LE());
    const { entries } = readHeader(bytes(0, Math.min(size, 8 + length)), size);
    for (const { name, shape } of parameters) {
      const entry = entries.get(name);
      if (entry === undefined || String(entry.shape) !== String(shape))
        throw new SomaError(
          "EINVAL",
          `${path}: ${name} must have shape [${shape}] and ${entry ? `has [${entry.shape}]` : "is missing"}`,
        );
      const count = entry.end - entry.begin;
      yield { name, shape, data: readFloats(bytes(entry.begin, count), { ...entry, begin: 0, end: count }, name) };
    }
  } finally {
    closeSync(fd);
  }
}
