// Owns llama.cpp's block formats: how many numbers and bytes a block has, and the numbers that its bytes stand for. Pure.
import { SomaError } from "../../../kernel/abi/errors.ts";

interface Quant {
  /** GGUF's number for it. */
  id: number;
  /** Numbers in a block. */
  values: number;
  /** Bytes of a block. */
  bytes: number;
  /** The block at byte `at` as numbers from `to[o]` on; absent where safetensors holds the type as it is. */
  read?: (b: Uint8Array, at: number, to: Float32Array, o: number) => void;
}

const word = new DataView(new ArrayBuffer(4));

/** IEEE half precision at byte `at`. */
function half(b: Uint8Array, at: number): number {
  const bits = b[at]! | (b[at + 1]! << 8);
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31 || exponent === 0) {
    const size = exponent === 0 ? fraction * 2 ** -24 : fraction ? Number.NaN : Number.POSITIVE_INFINITY;
    return bits & 0x8000 ? -size : size;
  }
  word.setUint32(0, ((bits & 0x8000) << 16) | ((exponent + 112) << 23) | (fraction << 13));
  return word.getFloat32(0);
}

const signed = (byte: number): number => (byte << 24) >> 24;

/** Rounds as C does: products of f32 are f32 before they are subtracted. */
const f32 = Math.fround;

// Low halves of 16 bytes are the first 16 numbers, high halves the others; bit i of `high` is the fifth bit of number i.
function nibbles(
  b: Uint8Array,
  at: number,
  high: number,
  to: Float32Array,
  o: number,
  value: (n: number) => number,
): void {
  for (let i = 0; i < 16; i++) {
    const byte = b[at + i]!;
    to[o + i] = value((byte & 15) | (((high >>> i) & 1) << 4));
    to[o + i + 16] = value((byte >> 4) | (((high >>> (i + 16)) & 1) << 4));
  }
}

const bits32 = (b: Uint8Array, at: number): number =>
  b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24);

// Q4_K and Q5_K: eight scales and eight minima of six bits in twelve bytes. Number j's, as [scale, minimum].
function scaleOf(b: Uint8Array, at: number, j: number): [number, number] {
  if (j < 4) return [b[at + j]! & 63, b[at + j + 4]! & 63];
  return [(b[at + j + 4]! & 15) | ((b[at + j - 4]! >> 6) << 4), (b[at + j + 4]! >> 4) | ((b[at + j]! >> 6) << 4)];
}

// A block of 256: d, dmin, scales, (`high`: 32 bytes of fifth bits,) 128 bytes of halves.
function readK(b: Uint8Array, at: number, high: number, low: number, to: Float32Array, o: number): void {
  const [d, least] = [half(b, at), half(b, at + 2)];
  for (let j = 0; j < 8; j++) {
    const [scale, minimum] = scaleOf(b, at + 4, j);
    const [step, base] = [f32(d * scale), f32(least * minimum)];
    const from = low + 32 * (j >> 1);
    for (let i = 0; i < 32; i++) {
      const quarter = j & 1 ? b[from + i]! >> 4 : b[from + i]! & 15;
      const fifth = high ? ((b[high + i]! >> j) & 1) << 4 : 0;
      to[o + 32 * j + i] = f32(step * (quarter | fifth)) - base;
    }
  }
}

function readQ6K(b: Uint8Array, at: number, to: Float32Array, o: number): void {
  const d = half(b, at + 208);
  for (let part = 0; part < 2; part++) {
    const [low, high, scales] = [at + 64 * part, at + 128 + 32 * part, at + 192 + 8 * part];
    for (let i = 0; i < 128; i++) {
      const lane = i & 31;
      const byte = b[low + (i & 63)]!;
      const two = (b[high + lane]! >> (2 * (i >> 5))) & 3;
      const value = ((i < 64 ? byte & 15 : byte >> 4) | (two << 4)) - 32;
      to[o + 128 * part + i] = f32(d * signed(b[scales + (i >> 4)]!)) * value;
    }
  }
}

const table = {
  F32: { id: 0, values: 1, bytes: 4 },
  F16: { id: 1, values: 1, bytes: 2 },
  BF16: { id: 30, values: 1, bytes: 2 },
  Q4_0: {
    ...{ id: 2, values: 32, bytes: 18 },
    read(b, at, to, o) {
      const d = half(b, at);
      nibbles(b, at + 2, 0, to, o, (n) => d * (n - 8));
    },
  },
  Q4_1: {
    ...{ id: 3, values: 32, bytes: 20 },
    read(b, at, to, o) {
      const [d, least] = [half(b, at), half(b, at + 2)];
      nibbles(b, at + 4, 0, to, o, (n) => f32(d * n) + least);
    },
  },
  Q5_0: {
    ...{ id: 6, values: 32, bytes: 22 },
    read(b, at, to, o) {
      const d = half(b, at);
      nibbles(b, at + 6, bits32(b, at + 2), to, o, (n) => d * (n - 16));
    },
  },
  Q5_1: {
    ...{ id: 7, values: 32, bytes: 24 },
    read(b, at, to, o) {
      const [d, least] = [half(b, at), half(b, at + 2)];
      nibbles(b, at + 8, bits32(b, at + 4), to, o, (n) => f32(d * n) + least);
    },
  },
  Q8_0: {
    ...{ id: 8, values: 32, bytes: 34 },
    read(b, at, to, o) {
      const d = half(b, at);
      for (let i = 0; i < 32; i++) to[o + i] = d * signed(b[at + 2 + i]!);
    },
  },
  Q4_K: { id: 12, values: 256, bytes: 144, read: (b, at, to, o) => readK(b, at, 0, at + 16, to, o) },
  Q5_K: { id: 13, values: 256, bytes: 176, read: (b, at, to, o) => readK(b, at, at + 16, at + 48, to, o) },
  Q6_K: { id: 14, values: 256, bytes: 210, read: readQ6K },
} satisfies Record<string, Quant>;

export type QuantType = keyof typeof table;
export const quants: Record<QuantType, Quant> = table;

const byId = new Map(Object.entries(table).map(([name, { id }]) => [id, name as QuantType]));

/** The type with GGUF's number `id`. EINVAL for one that is not read here. */
export function typeOf(id: number, tensor: string): QuantType {
  const type = byId.get(id);
  if (type) return type;
  throw new SomaError(
    "EINVAL",
    `tensor ${tensor} is of GGUF type ${id}, which is not supported; use ${Object.keys(table).join(", ")}`,
  );
}

/** Whole blocks as f32. */
export function dequantise(type: QuantType, bytes: Uint8Array): Float32Array {
  const { values, bytes: size, read } = quants[type];
  if (!read) throw new Error(`${type} is no block format`);
  const out = new Float32Array((bytes.length / size) * values);
  for (let at = 0, o = 0; at < bytes.length; at += size, o += values) read(bytes, at, out, o);
  return out;
}
