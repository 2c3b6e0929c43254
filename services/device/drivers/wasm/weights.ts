// Reads model.safetensors into a model's memory, tensor by tensor and a panel of rows at a time: the file never lies in the
// JavaScript heap. F32, F16 and BF16 in; f32 or int8 panels out.
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import type { Kernels } from "../../kernels/load.ts";
import { type Layout, type Matrix, panel } from "./layout.ts";
import type { Shape } from "./shape.ts";

const kinds: Record<string, { kind: number; bytes: number }> = {
  F32: { kind: 0, bytes: 4 },
  F16: { kind: 1, bytes: 2 },
  BF16: { kind: 2, bytes: 2 },
};

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** One open safetensors file. */
export interface WeightsFile {
  fd: number;
  path: string;
  tensors: Record<string, Tensor | undefined>;
  /** Where tensor data begin. */
  data: number;
}

const broken = (path: string, what: string): never => {
  throw new SomaError("EINVAL", `${path}: ${what}; fetch or export the weights again`);
};

/** Opens the file and checks its header against its length. ENOENT, or EINVAL if it is cut off or no safetensors. */
export function openWeights(path: string): WeightsFile {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    throw new SomaError("ENOENT", `cannot open the weights ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    const { size } = fstatSync(fd);
    const length = Buffer.alloc(8);
    if (readSync(fd, length, 0, 8, 0) < 8) broken(path, "shorter than a safetensors header");
    const headerBytes = Number(length.readBigUInt64LE());
    if (headerBytes > Math.min(size - 8, 100_000_000)) broken(path, "its header is longer than the file");
    const header = Buffer.alloc(headerBytes);
    readSync(fd, header, 0, headerBytes, 8);
    const tensors = parse(path, header.toString("utf8"));
    for (const [name, tensor] of Object.entries(tensors)) {
      if (name === "__metadata__") continue;
      const [from, to] = tensor?.data_offsets ?? [];
      if (!Array.isArray(tensor?.shape) || !Number.isInteger(from) || !Number.isInteger(to) || from! < 0 || to! < from!)
        broken(path, `${name} has no shape or no place in the file`);
      if (8 + headerBytes + to! > size) broken(path, `cut off: ${name} ends after byte ${size}`);
    }
    return { fd, path, tensors, data: 8 + headerBytes };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function parse(path: string, json: string): Record<string, Tensor | undefined> {
  try {
    return { ...JSON.parse(json) };
  } catch {
    return broken(path, "its header is not JSON");
  }
}

/** SHA-256 of the whole file. */
export function hashOf(file: WeightsFile): string {
  const hash = createHash("sha256");
  const chunk = Buffer.alloc(1 << 20);
  for (let at = 0, read: number; (read = readSync(file.fd, chunk, 0, chunk.length, at)) > 0; at += read)
    hash.update(chunk.subarray(0, read));
  return hash.digest("hex");
}

/** Fills all weights of `layout`. EINVAL names the tensor that is missing or has another shape or type. */
export function readWeights(
  file: WeightsFile,
  shape: Shape,
  layout: Layout,
  kernels: Kernels,
  memory: WebAssembly.Memory,
): void {
  const bytes = new Uint8Array(memory.buffer);
  const { call } = kernels;

  const find = (name: string, expected: number[]) => {
    const tensor = file.tensors[name] ?? file.tensors[name.replace(/^model\./, "")];
    if (!tensor) return broken(file.path, `no tensor ${name}`);
    const format = kinds[tensor.dtype] ?? broken(file.path, `${name} is ${tensor.dtype}, not F32, F16 or BF16`);
    const [from, to] = tensor.data_offsets;
    const count = expected.reduce((a, b) => a * b, 1);
    if (tensor.shape.join() !== expected.join() || to - from !== count * format.bytes)
      broken(file.path, `${name} is [${tensor.shape}] in ${to - from} bytes, config.json says [${expected}]`);
    return { name, at: file.data + from, ...format };
  };
  // Reads `count` numbers from byte `at` of the file as f32 to address `to`; `raw` is room for them as they are.
  const read = (tensor: ReturnType<typeof find>, at: number, count: number, raw: number, to: number) => {
    const length = count * tensor.bytes;
    for (let done = 0; done < length; ) {
      const got = readSync(file.fd, bytes, raw + done, length - done, at + done);
      if (got === 0) broken(file.path, "it became shorter while it was read");
      done += got;
    }
    if (!call.to_f32!(raw, tensor.kind, to, count)) broken(file.path, `${tensor.name} has numbers that are not finite`);
  };
  const vector = (name: string, length: number, to: number) => {
    if (to === 0) return;
    const tensor = find(name, [length]);
    read(tensor, tensor.at, length, layout.scratch, to);
  };
  const gain = (name: string, length: number, to: number) => {
    vector(name, length, to);
    if (!shape.gemma || to === 0) return;
    const gains = new Float32Array(memory.buffer, to, length);
    for (let i = 0; i < length; i++) gains[i]! += 1;
  };
  const matrix = (name: string, { at, scales, rows, columns }: Matrix) => {
    const tensor = find(name, [rows, columns]);
    const [raw, rowsAsF32] = [layout.scratch, layout.scratch + 4 * panel * columns];
    for (let row = 0; row < rows; row += panel) {
      const count = Math.min(panel, rows - row);
      read(tensor, tensor.at + row * columns * tensor.bytes, count * columns, raw, rowsAsF32);
      if (layout.dtype === "f32") call.panel_f32!(rowsAsF32, count, columns, at + 4 * row * columns);
      else call.panel_i8!(rowsAsF32, count, columns, at + row * (columns + (columns % 2)), scales + 4 * row);
    }
  };

  matrix("model.embed_tokens.weight", layout.embedding);
  gain("model.norm.weight", shape.width, layout.finalNorm);
  if (layout.head !== layout.embedding) matrix("lm_head.weight", layout.head);
  layout.layers.forEach((layer, index) => {
    const name = (part: string) => `model.layers.${index}.${part}`;
    const [afterAttention, mlp] = shape.gemma
      ? [layer.attentionOutNorm, "pre_feedforward_layernorm"]
      : [0, "post_attention_layernorm"];
    gain(name("input_layernorm.weight"), shape.width, layer.attentionNorm);
    gain(name("post_attention_layernorm.weight"), shape.width, afterAttention);
    gain(name(`${mlp}.weight`), shape.width, layer.mlpNorm);
    gain(name("post_feedforward_layernorm.weight"), shape.width, layer.mlpOutNorm);
    gain(name("self_attn.q_norm.weight"), shape.headWidth, layer.qNorm);
    gain(name("self_attn.k_norm.weight"), shape.headWidth, layer.kNorm);
    for (const part of ["q", "k", "v", "o", "gate", "up", "down"] as const) {
      const where = name(`${"qkvo".includes(part) ? "self_attn" : "mlp"}.${part}_proj`);
      matrix(`${where}.weight`, layer[part]);
      vector(`${where}.bias`, layer[part].rows, layer.bias[part]);
    }
  });
}

/** Angles of all positions, as cosines and sines. */
export function writeRotation(shape: Shape, layout: Layout, memory: WebAssembly.Memory): void {
  const half = shape.headWidth / 2;
  shape.rotations.forEach((frequencies, which) => {
    const at = layout.rotations[which]!;
    const cosines = new Float32Array(memory.buffer, at.cosines, layout.context * half);
    const sines = new Float32Array(memory.buffer, at.sines, layout.context * half);
    for (let i = 0; i < cosines.length; i++) {
      const angle = Math.floor(i / half) * frequencies[i % half]!;
      cosines[i] = Math.cos(angle);
      sines[i] = Math.sin(angle);
    }
  });
}
