// Owns the safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes. Weights, checkpoints and
// datasets all use it.
import { SomaError } from "../../../kernel/abi/errors.ts";

const widths = { F32: 4, F16: 2, BF16: 2, I32: 4, F64: 8, I64: 8, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;
export type Dtype = keyof typeof widths;

export interface Entry {
  dtype: Dtype;
  shape: number[];
  /** Bytes from the start of the file. */
  begin: number;
  end: number;
}

export interface Header {
  entries: Map<string, Entry>;
  metadata: Record<string, string>;
  /** Where the tensors' bytes begin. */
  dataStart: number;
}

export type Writable = { shape: readonly number[]; data: Float32Array | Int32Array };

const headerLimit = 100_000_000;

function refuse(message: string, cause?: unknown): never {
  throw new SomaError("EINVAL", `not a usable safetensors file: ${message}`, { cause });
}

/** Reads the header of a whole file. Throws EINVAL if the file is cut short or the header does not fit it. */
export function readHeader(bytes: Uint8Array): Header {
  if (bytes.length < 8) refuse(`it has ${bytes.length} bytes, fewer than its length field; fetch it again`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (length > headerLimit) refuse(`its header claims ${length} bytes, more than ${headerLimit}`);
  const dataStart = 8 + length;
  if (dataStart > bytes.length) {
    refuse(`its header ends at byte ${dataStart} but only ${bytes.length} bytes are there; fetch it again`);
  }
  let json: Record<string, any>;
  try {
    // A copy, because TextDecoder refuses shared memory.
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes.subarray(8, dataStart))));
  } catch (cause) {
    refuse("its header is not JSON", cause);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) refuse("its header is not a JSON object");
  const { __metadata__: metadata = {}, ...tensors } = json;
  const entries = new Map<string, Entry>();
  let last = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    const entry = checkEntry(name, tensor, dataStart);
    if (entry.end > bytes.length) {
      refuse(`tensor ${name} ends at byte ${entry.end} but the file has ${bytes.length}; fetch it again`);
    }
    last = Math.max(last, entry.end);
    entries.set(name, entry);
  }
  checkOverlap(entries);
  return { entries, metadata: metadata as Record<string, string>, dataStart };
}

function checkEntry(name: string, tensor: any, dataStart: number): Entry {
  const { dtype, shape, data_offsets: offsets } = tensor ?? {};
  const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Object.hasOwn(widths, dtype))
    refuse(`tensor ${name} has dtype ${dtype}; known are ${Object.keys(widths).join(", ")}`);
  if (!Array.isArray(shape) || !shape.every(whole)) refuse(`tensor ${name} has no valid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole))
    refuse(`tensor ${name} has no valid offsets`);
  const bytes = shape.reduce((a: number, b: number) => a * b, 1) * widths[dtype as Dtype];
  const [begin, end] = offsets as [number, number];
  if (end - begin !== bytes) refuse(`tensor ${name} of shape [${shape}] needs ${bytes} bytes but has ${end - begin}`);
  return { dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function checkOverlap(entries: Map<string, Entry>): void {
  let reached = 0;
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin < reached) refuse(`tensor ${name} overlaps the one before it`);
    reached = end;
  }
}

/** The tensor's values as f32 (converted from F16 or BF16 if need be); a view where the bytes allow it, else a copy. */
export function readFloats(bytes: Uint8Array, entry: Entry, name = "?"): Float32Array {
  if (entry.dtype === "F32") return new Float32Array(...aligned(bytes, entry));
  if (entry.dtype !== "BF16" && entry.dtype !== "F16") {
    refuse(`tensor ${name} is ${entry.dtype}; F32, F16 or BF16 is needed`);
  }
  const half = new Uint16Array(...aligned(bytes, entry));
  const out = new Float32Array(half.length);
  if (entry.dtype === "BF16") {
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < half.length; i++) bits[i] = half[i]! << 16;
  } else {
    for (let i = 0; i < half.length; i++) out[i] = fromHalf(half[i]!);
  }
  return out;
}

/** The tensor's values as int32; EINVAL if it holds something else. */
export function readInts(bytes: Uint8Array, entry: Entry, name = "?"): Int32Array {
  if (entry.dtype !== "I32") refuse(`tensor ${name} is ${entry.dtype}; I32 is needed`);
  return new Int32Array(...aligned(bytes, entry));
}

function aligned(bytes: Uint8Array, { dtype, begin, end }: Entry): [ArrayBufferLike, number, number] {
  const width = widths[dtype];
  const at = bytes.byteOffset + begin;
  if (at % width === 0) return [bytes.buffer, at, (end - begin) / width];
  // Not slice(): a Buffer's shares its memory instead of copying.
  return [new Uint8Array(bytes.subarray(begin, end)).buffer, 0, (end - begin) / width];
}

// IEEE half precision: 1 sign, 5 exponent, 10 fraction bits.
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Every tensor of the file as f32, by name. */
export function readWeights(bytes: Uint8Array): Map<string, { shape: number[]; data: Float32Array }> {
  const { entries } = readHeader(bytes);
  return new Map([...entries].map(([name, e]) => [name, { shape: e.shape, data: readFloats(bytes, e, name) }]));
}

/** Writes tensors in the given order. transformers wants `format: "pt"` in the metadata of weights. */
export function writeSafetensors(
  tensors: Iterable<readonly [string, Writable]>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const list = [...tensors];
  const header: Record<string, unknown> = { __metadata__: metadata };
  let size = 0;
  for (const [name, { shape, data }] of list) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (count !== data.length) throw new Error(`${name}: shape [${shape}] does not hold ${data.length} values`);
    const dtype = data instanceof Float32Array ? "F32" : "I32";
    header[name] = { dtype, shape, data_offsets: [size, (size += data.byteLength)] };
  }
  // Spaces up to a multiple of 8, so that readers can map the tensors without copying.
  const json = Buffer.from(JSON.stringify(header));
  const length = Math.ceil(json.length / 8) * 8;
  const out = new Uint8Array(8 + length + size);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.fill(0x20, 8, 8 + length).set(json, 8);
  let at = 8 + length;
  for (const [, { data }] of list) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}
