// Owns the GGUF container (versions 2 and 3): its metadata, typed, and where each tensor lies. Numbers stay in the file.
import { type FileHandle, open } from "node:fs/promises";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { elements } from "../safetensors.ts";
import { type QuantType, quants, typeOf } from "./quants.ts";

export type Value = number | boolean | string | Value[];

export interface GgufTensor {
  name: string;
  type: QuantType;
  /** Rows first, as in safetensors; the file has it the other way round. */
  shape: number[];
  /** From the start of the file. */
  at: number;
  bytes: number;
}

export interface Gguf {
  path: string;
  metadata: Map<string, Value>;
  tensors: Map<string, GgufTensor>;
}

const [STRING, ARRAY] = [8, 9];
const ALIGNMENT = 32;

/** Numbers by GGUF's type id: bytes, and how a view gives them. */
const scalars: Record<number, [number, (view: DataView, at: number) => number | boolean]> = {
  0: [1, (view, at) => view.getUint8(at)],
  1: [1, (view, at) => view.getInt8(at)],
  2: [2, (view, at) => view.getUint16(at, true)],
  3: [2, (view, at) => view.getInt16(at, true)],
  4: [4, (view, at) => view.getUint32(at, true)],
  5: [4, (view, at) => view.getInt32(at, true)],
  6: [4, (view, at) => view.getFloat32(at, true)],
  7: [1, (view, at) => view.getUint8(at) !== 0],
  10: [8, (view, at) => Number(view.getBigUint64(at, true))],
  11: [8, (view, at) => Number(view.getBigInt64(at, true))],
  12: [8, (view, at) => view.getFloat64(at, true)],
};

/** Reads forward, a piece at a time. */
class Cursor {
  private piece = Buffer.alloc(0);
  private from = 0;
  at = 0;

  constructor(
    private readonly file: FileHandle,
    readonly size: number,
    readonly refuse: (what: string) => never,
  ) {}

  /** The next bytes. EINVAL past the end: a length that is wrong asks for more than there is. */
  async take(length: number): Promise<Buffer> {
    if (!(this.at + length <= this.size))
      this.refuse(`is cut short: byte ${this.at + length} of ${this.size} is needed`);
    if (this.at + length > this.from + this.piece.length) {
      const wanted = Math.min(Math.max(length, 1 << 20), this.size - this.at);
      this.piece = Buffer.alloc(wanted);
      this.from = this.at;
      await this.file.read(this.piece, 0, wanted, this.at);
    }
    const start = this.at - this.from;
    this.at += length;
    return this.piece.subarray(start, start + length);
  }

  async number(type: number): Promise<number> {
    return Number(await this.scalar(type));
  }

  async scalar(type: number): Promise<number | boolean> {
    const [bytes, read] = scalars[type] ?? this.refuse(`has a value of unknown type ${type}`);
    const taken = await this.take(bytes);
    return read(new DataView(taken.buffer, taken.byteOffset, bytes), 0);
  }

  async string(): Promise<string> {
    return (await this.take(await this.number(10))).toString("utf8");
  }

  async value(type: number): Promise<Value> {
    if (type === STRING) return this.string();
    if (type !== ARRAY) return this.scalar(type);
    const [of, length] = [await this.number(4), await this.number(10)];
    if (length > this.size) this.refuse(`claims an array of ${length}`);
    const [bytes, read] = scalars[of] ?? [];
    if (bytes && read) {
      const taken = await this.take(bytes * length);
      const view = new DataView(taken.buffer, taken.byteOffset, taken.length);
      return Array.from({ length }, (_, i) => read(view, i * bytes));
    }
    const list: Value[] = [];
    while (list.length < length) list.push(await this.value(of));
    return list;
  }
}

/** Reads everything but the numbers. EINVAL says what is wrong with the file. */
export async function readGguf(path: string): Promise<Gguf> {
  const refuse = (what: string): never => {
    throw new SomaError("EINVAL", `${path} ${what}: fetch or convert it again`);
  };
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const cursor = new Cursor(file, size, refuse);
    if ((await cursor.take(4)).toString("latin1") !== "GGUF") refuse("is no GGUF file");
    const version = await cursor.number(4);
    if (version !== 2 && version !== 3) refuse(`is GGUF version ${version}; 2 and 3 are read`);
    const [tensorCount, keys] = [await cursor.number(10), await cursor.number(10)];
    const metadata = new Map<string, Value>();
    for (let i = 0; i < keys; i++) metadata.set(await cursor.string(), await cursor.value(await cursor.number(4)));
    const list: GgufTensor[] = [];
    for (let i = 0; i < tensorCount; i++) {
      const name = await cursor.string();
      const shape: number[] = [];
      for (let left = await cursor.number(4); left > 0; left--) shape.unshift(await cursor.number(10));
      const type = typeOf(await cursor.number(4), name);
      const { values, bytes } = quants[type];
      if ((shape.at(-1) ?? 0) % values) refuse(`has ${name} with rows of ${shape.at(-1)}, ${type} comes in ${values}s`);
      list.push({ name, type, shape, at: await cursor.number(10), bytes: (elements(shape) / values) * bytes });
    }
    const alignment = Number(metadata.get("general.alignment") ?? ALIGNMENT);
    const data = Math.ceil(cursor.at / alignment) * alignment;
    for (const tensor of list) {
      tensor.at += data;
      if (!(tensor.at + tensor.bytes <= size)) refuse(`is cut short: ${tensor.name} ends after byte ${size}`);
    }
    return { path, metadata, tensors: new Map(list.map((tensor) => [tensor.name, tensor])) };
  } finally {
    await file.close();
  }
}
