// Owns moving KV blocks in and out of a model, the same for every driver. `block(i)` is a view of block i's bytes.
import { SomaError } from "../../../kernel/abi/errors.ts";

/** EINVAL unless the model has such a block. */
export function checkBlock(index: number, blocks: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= blocks)
    throw new SomaError("EINVAL", `block ${index} is not in 0..${blocks - 1}`);
}

/** The bytes of these blocks, one after the other; `size` bytes each. */
export function copyOut(blocks: readonly number[], size: number, block: (index: number) => Uint8Array): Uint8Array {
  const bytes = new Uint8Array(blocks.length * size);
  for (const [i, index] of blocks.entries()) bytes.set(block(index), i * size);
  return bytes;
}

/** The reverse; EINVAL when the bytes are not exactly those blocks. */
export function copyIn(
  blocks: readonly number[],
  size: number,
  block: (index: number) => Uint8Array,
  bytes: Uint8Array,
): void {
  if (bytes.length !== blocks.length * size)
    throw new SomaError("EINVAL", `${blocks.length} blocks are ${blocks.length * size} bytes, not ${bytes.length}`);
  for (const [i, index] of blocks.entries()) block(index).set(bytes.subarray(i * size, (i + 1) * size));
}
