// Owns the safetensors container as this service needs it: checking a file's header against its size, and writing datasets.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { SomaError } from "../../kernel/abi/errors.ts";

const WIDTH: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};
/** Longest header that is read: a million tensors would fit. */
const HEADER_LIMIT = 100_000_000;

export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  /** Bytes from the start of the file. */
  begin: number;
  end: number;
}

/** The tensors of a weights file. EINVAL says what is wrong with it: cut short, not JSON, offsets that do not fit. */
export function readHeader(path: string): TensorEntry[] {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const bad = (what: string, cause?: unknown): never => {
      throw new SomaError("EINVAL", `model.safetensors ${what}: fetch the file again`, { cause });
    };
    const lead = Buffer.alloc(8);
    if (readSync(file, lead, 0, 8, 0) < 8) return bad(`has only ${size} bytes`);
    const length = Number(lead.readBigUInt64LE());
    if (length > HEADER_LIMIT || 8 + length > size) return bad(`claims a header of ${length} bytes in ${size}`);
    const text = Buffer.alloc(length);
    readSync(file, text, 0, length, 8);
    let header: Record<string, unknown>;
    try {
      header = JSON.parse(text.toString("utf8")) as Record<string, unknown>;
    } catch (cause) {
      return bad("has a header that is not JSON", cause);
    }
    const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
    if (entries.length === 0) return bad("holds no tensor");
    return entries.map(([name, value]) => {
      const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
      const whole = (list: unknown): list is number[] =>
        Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
      const width = WIDTH[String(dtype)];
      if (width === undefined) return bad(`has tensor ${name} of unknown dtype ${dtype}`);
      if (!whole(shape) || !whole(offsets) || offsets.length !== 2) return bad(`describes tensor ${name} wrongly`);
      const [begin = 0, end = 0] = offsets;
      const bytes = elements(shape) * width;
      if (end - begin !== bytes) return bad(`gives tensor ${name} [${shape}] ${end - begin} bytes, not ${bytes}`);
      if (8 + length + end > size)
        return bad(`is cut short: tensor ${name} ends at byte ${8 + length + end} of ${size}`);
      return { name, dtype: String(dtype), shape, begin: 8 + length + begin, end: 8 + length + end };
    });
  } finally {
    closeSync(file);
  }
}

/** Number of values in a shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Flat arrays as one file, in the given order. */
export function writeFlat(
  arrays: readonly (readonly [string, Float32Array | Int32Array])[],
  metadata: Record<string, string>,
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let size = 0;
  for (const [name, data] of arrays) {
    const dtype = data instanceof Float32Array ? "F32" : "I32";
    header[name] = { dtype, shape: [data.length], data_offsets: [size, size + data.byteLength] };
    size += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  // Padded with spaces to a multiple of 8, so that a reader may map the arrays without copying.
  const length = Math.ceil(json.length / 8) * 8;
  const out = new Uint8Array(8 + length + size);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.fill(0x20, 8, 8 + length).set(json, 8);
  let at = 8 + length;
  for (const [, data] of arrays) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}
