// Owns the batches: examples of a dataset as tensors, without padding.
import type { Tensor1D, Tensor2D } from "@tensorflow/tfjs-core";
import type { BatchSize } from "./architecture.ts";
import type { Dataset, TokenSplit, VectorSplit } from "./dataset.ts";
import type { Layout, Ops, Tf } from "./ops.ts";

export interface Batch {
  /** Tokens: ids and their layout. Vectors: features [rows, width]. */
  ids?: Tensor1D;
  layout?: Layout;
  features?: Tensor2D;
  /** Rows to compute outputs of; all if absent. */
  outputs?: Tensor1D;
  labels?: Tensor1D;
  targets?: Tensor2D;
}

/** How many rows and counted outputs (what the loss is the mean of) these examples have. */
export function measure(dataset: Dataset, split: keyof Dataset["splits"], examples: ArrayLike<number>): BatchSize {
  const size = { rows: 0, outputs: 0, squares: 0, longest: 0 };
  for (const e of Array.from(examples)) {
    const rows = exampleRows(dataset, split, e);
    size.rows += rows;
    size.outputs += exampleOutputs(dataset, split, e);
    size.squares += rows * rows;
    size.longest = Math.max(size.longest, rows);
  }
  return size;
}

/** Rows of an example: a token row predicts the next token, so the last token has none. */
export function exampleRows(dataset: Dataset, split: keyof Dataset["splits"], example: number): number {
  if (dataset.kind === "vectors") return 1;
  const { starts } = dataset.splits[split];
  return starts[example + 1]! - starts[example]! - 1;
}

function exampleOutputs(dataset: Dataset, split: keyof Dataset["splits"], example: number): number {
  if (dataset.kind === "vectors") return dataset.splits[split].labels ? 1 : dataset.outputs;
  // The ids after the prompt are learnt, but the first id of all cannot be predicted from anything.
  return exampleRows(dataset, split, example) + 1 - Math.max(1, dataset.splits[split].prompts[example]!);
}

/** The examples' tensors; `disposeBatch` frees them. */
export function makeBatch(
  tf: Tf,
  ops: Ops,
  dataset: Dataset,
  split: keyof Dataset["splits"],
  examples: ArrayLike<number>,
): Batch {
  if (dataset.kind === "tokens") return tokenBatch(tf, ops, dataset.splits[split], examples);
  return vectorBatch(tf, dataset.splits[split], dataset.width, dataset.outputs, examples);
}

function tokenBatch(tf: Tf, ops: Ops, split: TokenSplit, examples: ArrayLike<number>): Batch {
  const starts = new Int32Array(examples.length + 1);
  const ids: number[] = [];
  const outputs: number[] = [];
  const labels: number[] = [];
  for (let i = 0; i < examples.length; i++) {
    const [from, to] = [split.starts[examples[i]!]!, split.starts[examples[i]! + 1]!];
    const prompt = split.prompts[examples[i]!]!;
    for (let at = from; at + 1 < to; at++) {
      if (at + 1 - from >= prompt) {
        outputs.push(ids.length);
        labels.push(split.ids[at + 1]!);
      }
      ids.push(split.ids[at]!);
    }
    starts[i + 1] = ids.length;
  }
  return {
    ids: tf.tensor1d(Int32Array.from(ids), "int32"),
    layout: ops.layout(starts),
    outputs: tf.tensor1d(Int32Array.from(outputs), "int32"),
    labels: tf.tensor1d(Int32Array.from(labels), "int32"),
  };
}

function vectorBatch(tf: Tf, split: VectorSplit, width: number, outputs: number, examples: ArrayLike<number>): Batch {
  const rows = (from: Float32Array, columns: number) => {
    const to = new Float32Array(examples.length * columns);
    for (let i = 0; i < examples.length; i++) {
      to.set(from.subarray(examples[i]! * columns, (examples[i]! + 1) * columns), i * columns);
    }
    return tf.tensor2d(to, [examples.length, columns]);
  };
  const features = rows(split.features, width);
  if (!split.labels) return { features, targets: rows(split.targets!, outputs) };
  return {
    features,
    labels: tf.tensor1d(
      Int32Array.from(examples, (e) => split.labels![e]!),
      "int32",
    ),
  };
}

/** Frees a batch's tensors. */
export function disposeBatch(tf: Tf, { layout, ...tensors }: Batch): void {
  tf.dispose(tensors as any);
  if (layout) tf.dispose([layout.positions, layout.tensors] as any);
}
