// Reads one safetensors file as a source of weights: F32, F16 and BF16, a piece at a time, straight into the caller's memory.
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { WeightSource } from "./source.ts";

interface Tensor {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Numbers of a half-precision tensor that are converted at a time. */
const piece = 1 << 16;

/** Opens the file and checks its header against its length. ENOENT, or EINVAL if it is cut off or no safetensors. */
export function openSafetensors(path: string): WeightSource {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    throw new SomaError("ENOENT", `cannot open the weights ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    return new Safetensors(path, fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

class Safetensors implements WeightSource {
  private readonly tensors: Map<string, Tensor>;
  /** Where tensors' bytes begin. */
  private readonly data: number;
  private readonly halves = new Uint16Array(piece);

  constructor(
    private readonly path: string,
    private readonly fd: number,
  ) {
    const { size } = fstatSync(fd);
    const length = Buffer.alloc(8);
    if (readSync(fd, length, 0, 8, 0) < 8) this.refuse("shorter than a safetensors header");
    const headerBytes = Number(length.readBigUInt64LE());
    if (headerBytes > Math.min(size - 8, 100_000_000)) this.refuse("its header is longer than the file");
    this.data = 8 + headerBytes;
    const header = new Uint8Array(headerBytes);
    this.fill(header, 8);
    const { __metadata__: _, ...tensors } = this.parse(Buffer.from(header).toString("utf8"));
    for (const [name, tensor] of Object.entries(tensors)) {
      const [from, to] = tensor?.data_offsets ?? [];
      if (!Array.isArray(tensor?.shape) || !Number.isInteger(from) || !Number.isInteger(to) || from! < 0 || to! < from!)
        this.refuse(`${name} has no shape or no place in the file`);
      if (this.data + to! > size) this.refuse(`cut off: ${name} ends after byte ${size}`);
    }
    this.tensors = new Map(Object.entries(tensors) as [string, Tensor][]);
  }

  names(): Iterable<string> {
    return this.tensors.keys();
  }

  shape(name: string): readonly number[] | undefined {
    return this.tensors.get(name)?.shape;
  }

  read(name: string, from: number, to: number, into: Float32Array): void {
    const { dtype, shape, data_offsets } = this.tensors.get(name)!;
    const bytes = { F32: 4, F16: 2, BF16: 2 }[dtype] ?? this.refuse(`${name} is ${dtype}, not F32, F16 or BF16`);
    const row = shape.slice(1).reduce((a, b) => a * b, 1);
    if (data_offsets[1] - data_offsets[0] !== bytes * row * shape[0]!)
      this.refuse(`${name} is [${shape}] in ${data_offsets[1] - data_offsets[0]} bytes of ${dtype}`);
    const at = this.data + data_offsets[0] + from * row * bytes;
    const count = (to - from) * row;
    if (bytes === 4) return this.fill(new Uint8Array(into.buffer, into.byteOffset, 4 * count), at);
    const words = new Uint32Array(into.buffer, into.byteOffset, count);
    for (let done = 0; done < count; done += piece) {
      const some = this.halves.subarray(0, Math.min(piece, count - done));
      this.fill(new Uint8Array(some.buffer, 0, 2 * some.length), at + 2 * done);
      if (dtype === "BF16") for (let i = 0; i < some.length; i++) words[done + i] = some[i]! << 16;
      else for (let i = 0; i < some.length; i++) words[done + i] = floatOfHalf[some[i]!]!;
    }
  }

  hash(): string {
    const hash = createHash("sha256");
    const chunk = Buffer.alloc(1 << 20);
    for (let at = 0, read: number; (read = readSync(this.fd, chunk, 0, chunk.length, at)) > 0; at += read)
      hash.update(chunk.subarray(0, read));
    return hash.digest("hex");
  }

  close(): void {
    closeSync(this.fd);
  }

  private fill(into: Uint8Array, at: number): void {
    for (let done = 0; done < into.length; ) {
      const got = readSync(this.fd, into, done, into.length - done, at + done);
      if (got === 0) this.refuse("it became shorter while it was read");
      done += got;
    }
  }

  private parse(json: string): Record<string, Tensor | undefined> {
    try {
      return { ...JSON.parse(json) };
    } catch {
      return this.refuse("its header is not JSON");
    }
  }

  private refuse(what: string): never {
    throw new SomaError("EINVAL", `${this.path}: ${what}; fetch or export the weights again`);
  }
}

// The bits of each half-precision number as those of the same f32.
const floatOfHalf = Uint32Array.from({ length: 2 ** 16 }, (_, half) => {
  const sign = (half & 0x8000) << 16;
  const [exponent, fraction] = [(half >>> 10) & 31, half & 0x3ff];
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  // Subnormal halves are normal floats.
  const float = new Float32Array([fraction * 2 ** -24]);
  return sign | new Uint32Array(float.buffer)[0]!;
});
