// Owns what a vector is for search: float32 of length 1, so that a dot product is a cosine.
import { SomaError } from "../../../kernel/abi/errors.ts";

const MAX_DIMS = 8192;

/** From numbers, or from the bytes of float32 in little-endian order. `whose` is for EINVAL, when it has no direction. */
export function toUnit(given: readonly number[] | Uint8Array, whose: string): Float32Array {
  if (given instanceof Uint8Array && (given.length % 4 !== 0 || given.length === 0 || given.length > 4 * MAX_DIMS))
    throw new SomaError("EINVAL", `${whose} has a vector of ${given.length} bytes: give 1 to ${MAX_DIMS} float32`);
  // A copy begins its buffer, as views of floats must.
  const numbers = given instanceof Uint8Array ? new Float32Array(new Uint8Array(given).buffer) : given;
  // By the largest first, so that squares neither overflow nor vanish.
  let largest = 0;
  for (const number of numbers) largest = Math.max(largest, Math.abs(number));
  if (!(largest > 0 && largest < Number.POSITIVE_INFINITY))
    throw new SomaError("EINVAL", `${whose} has a vector without direction: give finite numbers, not all zero`);
  let squares = 0;
  for (const number of numbers) squares += (number / largest) ** 2;
  const length = Math.sqrt(squares);
  return Float32Array.from(numbers, (number) => number / largest / length);
}
