// Owns the named operations that a model is written in. Each has a plain TensorFlow.js composition (plain.ts), which is the
// reference and runs on every backend, and a fused version on our kernels (fused.ts).
import type { Scalar, Tensor, Tensor1D, Tensor2D, Variable } from "@tensorflow/tfjs-core";

export type Tf = typeof import("@tensorflow/tfjs-core");

/** A ragged batch: rows are tokens, example e holds rows starts[e] .. starts[e + 1] - 1. Made by `ops.layout`. */
export interface Layout {
  starts: Int32Array;
  /** Rows of the longest example. */
  longest: number;
  /** Each row's place in its example. */
  positions: Tensor1D;
  /** What this set of operations needs besides. */
  tensors: Record<string, Tensor>;
}

/** Cosines and sines of the rotary angles: [positions, head width / 2]. */
export interface Rotation {
  cos: Tensor2D;
  sin: Tensor2D;
}

/** One step of Adam or AdamW, see kernels/train.c. */
export interface AdamStep {
  lr: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Counted from 1. */
  step: number;
  /** AdamW: decoupled decay. */
  decay: number;
  /** Adam: decay as part of the gradient. */
  l2: number;
  /** Factor on the gradient, from clipping. */
  clip: number;
}

export interface SgdStep {
  lr: number;
  momentum: number;
  l2: number;
  clip: number;
}

export interface Ops {
  layout(starts: Int32Array): Layout;
  /** table [V, D], ids int32 [R] -> [R, D]. Also picks rows of any matrix. */
  embed(table: Tensor2D, ids: Tensor1D): Tensor2D;
  /** x [R, K], weight [N, K] as Hugging Face stores it, bias [N] -> [R, N] */
  linear(x: Tensor2D, weight: Tensor2D, bias?: Tensor1D): Tensor2D;
  /** x [R, D], gain [D] -> [R, D] */
  rmsNorm(x: Tensor2D, gain: Tensor1D, epsilon: number): Tensor2D;
  /** x [R, heads * width] -> the same, each head's halves rotated by the row's position. */
  rope(x: Tensor2D, heads: number, rotation: Rotation, layout: Layout): Tensor2D;
  /** Causal, inside each example. q [R, heads * width], k and v [R, kvHeads * width] -> [R, heads * width] */
  attention(q: Tensor2D, k: Tensor2D, v: Tensor2D, heads: number, kvHeads: number, layout: Layout): Tensor2D;
  /** silu(gate) * up */
  swiglu(gate: Tensor2D, up: Tensor2D): Tensor2D;
  /** scale * sum over rows of -log softmax(logits)[label]; logits [R, V], labels int32 [R], label -100 counts nothing. */
  crossEntropy(logits: Tensor2D, labels: Tensor1D, scale: number): Scalar;
  /** scale * sum of (y - target)^2 */
  squaredError(y: Tensor2D, target: Tensor2D, scale: number): Scalar;
  sumOfSquares(x: Tensor): number;
  /** The values; perhaps a view of the tensor's memory, which the next operation may move. */
  read(x: Tensor): Float32Array;
  /** The tensor with other values: perhaps `x` itself, else `x` is disposed. */
  replace(x: Tensor, values: Float32Array): Tensor;
  /** Updates weight and both moments in place. */
  adam(weight: Variable, gradient: Tensor, m: Variable, v: Variable, step: AdamStep): void;
  /** m = momentum * m + g; weight -= lr * m */
  sgd(weight: Variable, gradient: Tensor, m: Variable, step: SgdStep): void;
}

/** Each row's place in its example, and the longest example's rows. */
export function rowPositions(starts: Int32Array): { positions: Int32Array; longest: number } {
  const positions = new Int32Array(starts.at(-1)!);
  let longest = 0;
  for (let e = 0; e + 1 < starts.length; e++) {
    const length = starts[e + 1]! - starts[e]!;
    longest = Math.max(longest, length);
    for (let i = 0; i < length; i++) positions[starts[e]! + i] = i;
  }
  return { positions, longest };
}

/** The angles of rotary positions 0 .. positions - 1 for heads of `width`. The caller disposes them. */
export function rotationTables(tf: Tf, positions: number, width: number, theta: number): Rotation {
  const half = width / 2;
  const angles = Float64Array.from({ length: positions * half }, (_, i) => {
    return Math.floor(i / half) / theta ** ((2 * (i % half)) / width);
  });
  return {
    cos: tf.tensor2d(Float32Array.from(angles, Math.cos), [positions, half]),
    sin: tf.tensor2d(Float32Array.from(angles, Math.sin), [positions, half]),
  };
}
