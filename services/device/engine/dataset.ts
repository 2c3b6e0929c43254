// Owns the tokenised dataset that goes to training as one blob: a safetensors file with arrays for each split.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { readFloats, readHeader, readInts, type Writable, writeSafetensors } from "./safetensors.ts";

export const splits = ["train", "validation", "test"] as const;
export type Split = (typeof splits)[number];

/** One text: ids with special tokens. The first `prompt` ids are given, not learnt. `weight`: how often it is drawn. */
export interface TokenExample {
  ids: ArrayLike<number>;
  prompt: number;
  weight?: number;
}

/** Example e has ids[starts[e]] .. ids[starts[e + 1] - 1]. */
export interface TokenSplit {
  ids: Int32Array;
  starts: Int32Array;
  prompts: Int32Array;
  weights: Float32Array;
}

/** Row-major features [n, width]; either `labels` [n] (classes) or `targets` [n, outputs] (values). */
export interface VectorSplit {
  features: Float32Array;
  labels?: Int32Array;
  targets?: Float32Array;
  weights: Float32Array;
}

export type TokenDataset = { kind: "tokens"; splits: Record<Split, TokenSplit> };
export type VectorDataset = { kind: "vectors"; width: number; outputs: number; splits: Record<Split, VectorSplit> };
export type Dataset = TokenDataset | VectorDataset;

/** Lays examples end to end. Throws EINVAL for one with fewer than 2 ids or nothing to learn. */
export function tokenSplit(examples: readonly TokenExample[]): TokenSplit {
  const starts = new Int32Array(examples.length + 1);
  examples.forEach(({ ids, prompt, weight = 1 }, e) => {
    if (ids.length < 2) throw new SomaError("EINVAL", `example ${e} has ${ids.length} ids: give at least 2`);
    if (!(prompt >= 0 && prompt < ids.length)) {
      throw new SomaError(
        "EINVAL",
        `example ${e} has ${ids.length} ids, ${prompt} of them prompt: leave at least 1 to learn`,
      );
    }
    if (!(weight >= 0 && Number.isFinite(weight)))
      throw new SomaError("EINVAL", `example ${e} has weight ${weight}: give 0 or more`);
    starts[e + 1] = starts[e]! + ids.length;
  });
  const ids = new Int32Array(starts.at(-1)!);
  for (const [e, example] of examples.entries()) ids.set(example.ids, starts[e]!);
  return {
    ids,
    starts,
    prompts: Int32Array.from(examples, (example) => example.prompt),
    weights: Float32Array.from(examples, (example) => example.weight ?? 1),
  };
}

/** The dataset as bytes. */
export function encodeDataset(dataset: Dataset): Uint8Array {
  const tensors: [string, Writable][] = [];
  for (const split of splits) {
    for (const [field, data] of Object.entries(dataset.splits[split]) as [
      string,
      Float32Array | Int32Array | undefined,
    ][]) {
      if (data) tensors.push([`${split}.${field}`, { shape: [data.length], data }]);
    }
  }
  const shape = dataset.kind === "vectors" ? { width: `${dataset.width}`, outputs: `${dataset.outputs}` } : undefined;
  return writeSafetensors(tensors, { format: "soma.dataset", kind: dataset.kind, ...shape });
}

/** Builds a dataset from examples; a split that is not given is empty. Throws EINVAL as `tokenSplit` does. */
export function tokenDataset(examples: Partial<Record<Split, readonly TokenExample[]>>): TokenDataset {
  const of = (split: Split) => tokenSplit(examples[split] ?? []);
  return { kind: "tokens", splits: { train: of("train"), validation: of("validation"), test: of("test") } };
}

/** Reads what `encodeDataset` wrote; arrays are views of `bytes`. Throws EINVAL for anything else. */
export function decodeDataset(bytes: Uint8Array): Dataset {
  const { entries, metadata } = readHeader(bytes);
  if (metadata.format !== "soma.dataset") {
    throw new SomaError(
      "EINVAL",
      "not a Soma dataset: encode it with encodeDataset (services/device/engine/dataset.ts)",
    );
  }
  const field = (split: Split, name: string) => {
    const entry = entries.get(`${split}.${name}`);
    return entry && (entry.dtype === "I32" ? readInts(bytes, entry) : readFloats(bytes, entry));
  };
  const read = (names: readonly string[]) =>
    Object.fromEntries(
      splits.map((split) => [
        split,
        Object.fromEntries(names.flatMap((name) => (field(split, name) ? [[name, field(split, name)]] : []))),
      ]),
    ) as any;
  if (metadata.kind === "tokens") return { kind: "tokens", splits: read(["ids", "starts", "prompts", "weights"]) };
  const [width, outputs] = [Number(metadata.width), Number(metadata.outputs)];
  return { kind: "vectors", width, outputs, splits: read(["features", "labels", "targets", "weights"]) };
}

/** Number of examples in a split. */
export function exampleCount(dataset: Dataset, split: Split): number {
  return dataset.splits[split].weights.length;
}
