// Owns writing model.safetensors from tensors that come in pieces, so that no model lies in the heap as a whole.
import { open } from "node:fs/promises";
import { elements } from "../safetensors.ts";

/** Types that drivers read, and bytes of a number. */
export const WIDTHS = { F32: 4, F16: 2, BF16: 2 } as const;

export interface TensorSource {
  name: string;
  dtype: keyof typeof WIDTHS;
  shape: number[];
  /** The tensor's bytes in order, as many as shape and dtype say. */
  pieces(): AsyncIterable<Uint8Array>;
}

const bytesOf = ({ dtype, shape }: TensorSource): number => elements(shape) * WIDTHS[dtype];

/** Writes them one after another; `wrote` hears of each piece's bytes. */
export async function writeTensors(
  path: string,
  tensors: readonly TensorSource[],
  wrote: (bytes: number) => void = () => {},
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    header[name] = { dtype, shape, data_offsets: [end, end + bytesOf(tensor)] };
    end += bytesOf(tensor);
  }
  const json = Buffer.from(JSON.stringify(header));
  // Padded with spaces, so that readers may map the numbers without copying.
  const lead = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, 0x20);
  lead.writeBigUInt64LE(BigInt(lead.length - 8));
  lead.set(json, 8);
  const file = await open(path, "w");
  try {
    await file.writeFile(lead);
    for (const tensor of tensors) {
      let left = bytesOf(tensor);
      for await (const piece of tensor.pieces()) {
        await file.writeFile(piece);
        wrote(piece.length);
        left -= piece.length;
      }
      if (left !== 0) throw new Error(`${tensor.name} gave ${-left} bytes too many`);
    }
  } finally {
    await file.close();
  }
}
