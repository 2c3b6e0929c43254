// Owns the encoding of training data for the device: a safetensors file with flat arrays for each split. The device decodes it
// (services/device/engine/dataset.ts); a test holds both to one form.
import { SomaError } from "../../kernel/abi/errors.ts";
import { writeFlat } from "./safetensors.ts";

export const SPLITS = ["train", "validation", "test"] as const;
export type Split = (typeof SPLITS)[number];

/** One text: ids with special tokens. The first `promptLength` are given, not learned. `weight`: how often it is drawn. */
export interface TokenExample {
  ids: readonly number[];
  promptLength: number;
  weight: number;
}

/** Row-major features [n, width]; either `labels` [n] (classes) or `targets` [n, outputs]. */
export interface VectorSplit {
  features: Float32Array;
  labels?: Int32Array;
  targets?: Float32Array;
}

/** Texts, laid end to end: example e has ids[starts[e]] .. ids[starts[e + 1] - 1]. */
export function encodeTokens(splits: Record<Split, readonly TokenExample[]>): Uint8Array {
  const arrays = SPLITS.flatMap((split) => {
    const examples = splits[split];
    const starts = new Int32Array(examples.length + 1);
    for (const [e, { ids }] of examples.entries()) starts[e + 1] = starts[e]! + ids.length;
    const ids = new Int32Array(starts.at(-1)!);
    for (const [e, example] of examples.entries()) ids.set(example.ids, starts[e]);
    return [
      [`${split}.ids`, ids],
      [`${split}.starts`, starts],
      [`${split}.prompts`, Int32Array.from(examples, (example) => example.promptLength)],
      [`${split}.weights`, Float32Array.from(examples, (example) => example.weight)],
    ] as const;
  });
  return writeFlat(arrays, { format: "soma.dataset", kind: "tokens" });
}

/** Vectors. EINVAL when a split's arrays do not have the same number of rows. */
export function encodeVectors(width: number, outputs: number, splits: Record<Split, VectorSplit>): Uint8Array {
  const arrays = SPLITS.flatMap((split) => {
    const { features, labels, targets } = splits[split];
    const rows = features.length / width;
    const answers = labels ? labels.length : (targets?.length ?? 0) / outputs;
    if (!Number.isInteger(rows) || answers !== rows) {
      throw new SomaError("EINVAL", `${split} has ${rows} rows of ${width} features and ${answers} of targets`);
    }
    return [
      [`${split}.features`, features] as const,
      ...(labels ? [[`${split}.labels`, labels] as const] : []),
      ...(targets ? [[`${split}.targets`, targets] as const] : []),
      [`${split}.weights`, new Float32Array(rows).fill(1)] as const,
    ];
  });
  return writeFlat(arrays, { format: "soma.dataset", kind: "vectors", width: `${width}`, outputs: `${outputs}` });
}
