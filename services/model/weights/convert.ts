// Owns turning a GGUF file into a folder in Hugging Face's form, tensor by tensor. Block formats become f32 without loss.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { WEIGHTS, writeFiles } from "../folders.ts";
import { configOf, familyOf, nameOf, ROPE_FREQS } from "./families.ts";
import { type Gguf, type GgufTensor, readGguf } from "./gguf.ts";
import { dequantise, quants } from "./quants.ts";
import { vocabularyOf } from "./vocabulary.ts";
import { type TensorSource, writeTensors } from "./write.ts";

/** Numbers that are read at a time. */
const PIECE = 1 << 19;

/** Writes config, tokenizer and weights of `path` into `dir`. EINVAL names what is not supported. */
export async function convertGguf(path: string, dir: string): Promise<void> {
  const gguf = await readGguf(path);
  const file = await open(path);
  try {
    const factors = gguf.tensors.get(ROPE_FREQS);
    const config = configOf(gguf, factors && [...(await numbers(file, factors))]);
    await writeFiles(dir, { "config.json": config, ...(await vocabularyOf(gguf)) });
    const tensors = [...gguf.tensors.values()].filter(({ name }) => name !== ROPE_FREQS);
    await writeTensors(
      join(dir, WEIGHTS),
      tensors.map((tensor) => sourceOf(gguf, config, file, tensor)),
    );
  } finally {
    await file.close();
  }
}

function sourceOf(gguf: Gguf, config: Record<string, unknown>, file: FileHandle, tensor: GgufTensor): TensorSource {
  const { paired, raised } = familyOf(gguf);
  const { shape, type } = tensor;
  const name = nameOf(gguf, tensor.name);
  const rows = shape.length > 1 ? shape[0]! : tensor.shape[0]!;
  const rowBytes = tensor.bytes / rows;
  const half = Number(config.head_dim) / 2;
  const turns = paired && /^blk\.\d+\.attn_[qk]\./.test(tensor.name);
  const lowered = raised && name.endsWith("norm.weight");
  // Whole heads where rows change places, otherwise as many rows as make a piece.
  const step = turns ? 2 * half : Math.max(1, Math.floor(PIECE / (shape.length > 1 ? shape[1]! : 1)));
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      let bytes = await read(file, tensor.at + row * rowBytes, count * rowBytes);
      if (turns) bytes = unpaired(bytes, rowBytes, half);
      if (!quants[type].read && !lowered) yield bytes;
      else {
        const floats = quants[type].read ? dequantise(type, bytes) : new Float32Array(new Uint8Array(bytes).buffer);
        if (lowered) for (let i = 0; i < floats.length; i++) floats[i]! -= 1;
        yield new Uint8Array(floats.buffer);
      }
    }
  }
  const dtype = type === "F16" || type === "BF16" ? type : "F32";
  if (lowered && dtype !== "F32") throw new Error(`${tensor.name} is ${type}: gains are f32 in every GGUF file`);
  return { name, dtype, shape, pieces };
}

/** Rows of one head: pairs side by side become halves one after the other. */
function unpaired(bytes: Uint8Array, rowBytes: number, half: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < 2 * half; row++) {
    const from = row < half ? 2 * row : 2 * (row - half) + 1;
    out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return out;
}

async function read(file: FileHandle, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) throw new Error("the file became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}

async function numbers(file: FileHandle, tensor: GgufTensor): Promise<Float32Array> {
  const bytes = await read(file, tensor.at, tensor.bytes);
  return tensor.type === "F32" ? new Float32Array(bytes.buffer) : dequantise(tensor.type, bytes);
}
