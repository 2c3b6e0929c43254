// Owns the derivatives of the TensorFlow.js kernels that plain.ts and the models use. The Node build of tfjs-core leaves its
// own out of the bundle; where a build has them (tfjs-node), those stay.
import type { Tensor } from "@tensorflow/tfjs-core";
import type { Tf } from "./ops.ts";

interface Derivative {
  /** Inputs kept for the way back, in this order, then the output if `output`. */
  keep?: string[];
  output?: boolean;
  /** `dy` has the output's shape (a list for kernels with several); each entry gives one input's gradient. */
  grad(dy: any, kept: any[], attrs: any): Record<string, () => Tensor>;
}

/** Registers each derivative that `tf` lacks. */
export function registerGradients(tf: Tf): void {
  for (const [kernelName, { keep, output, grad }] of Object.entries(derivatives(tf))) {
    if (tf.getGradient(kernelName)) continue;
    tf.registerGradient({
      kernelName,
      ...(keep && { inputsToSave: keep }),
      ...(output && { outputsToSave: [true] }),
      ...(kernelName === "Concat" && { saveAllInputs: true }),
      gradFunc: grad,
    });
  }
}

function derivatives(tf: Tf): Record<string, Derivative> {
  // Undoes broadcasting: sums dy over the dimensions in which `shape` is shorter or 1.
  const fit = (dy: Tensor, shape: number[]) => {
    const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
    return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, shape);
  };

  return {
    Add: {
      keep: ["a", "b"],
      grad: (dy, [a, b]) => ({ a: () => fit(dy, a.shape), b: () => fit(dy, b.shape) }),
    },
    Sub: {
      keep: ["a", "b"],
      grad: (dy, [a, b]) => ({ a: () => fit(dy, a.shape), b: () => fit(tf.neg(dy), b.shape) }),
    },
    Multiply: {
      keep: ["a", "b"],
      grad: (dy, [a, b]) => ({
        a: () => fit(tf.mul(dy, b), a.shape),
        b: () => fit(tf.mul(dy, a), b.shape),
      }),
    },
    Sum: {
      keep: ["x"],
      grad(dy, [x], { axis }) {
        const axes = tf.util.parseAxisParam(axis, x.shape);
        const kept = x.shape.map((size: number, i: number) => (axes.includes(i) ? 1 : size));
        return { x: () => tf.mul(tf.reshape(dy, kept), tf.ones(x.shape)) };
      },
    },
    Square: { keep: ["x"], grad: (dy, [x]) => ({ x: () => tf.mul(dy, tf.mul(x, 2)) }) },
    Rsqrt: {
      output: true,
      grad: (dy, [y]) => ({ x: () => tf.mul(dy, tf.mul(tf.mul(y, tf.square(y)), -0.5)) }),
    },
    Sigmoid: { output: true, grad: (dy, [y]) => ({ x: () => tf.mul(dy, tf.mul(y, tf.sub(1, y))) }) },
    Tanh: { output: true, grad: (dy, [y]) => ({ x: () => tf.mul(dy, tf.sub(1, tf.square(y))) }) },
    Relu: { keep: ["x"], grad: (dy, [x]) => ({ x: () => tf.mul(dy, tf.step(x)) }) },
    Softmax: {
      output: true,
      grad(dy, [y], { dim }) {
        const weighted = tf.mul(dy, y);
        return { logits: () => tf.sub(weighted, tf.mul(tf.sum(weighted, dim, true), y)) };
      },
    },
    Cast: { grad: (dy) => ({ x: () => dy }) },
    Reshape: { keep: ["x"], grad: (dy, [x]) => ({ x: () => tf.reshape(dy, x.shape) }) },
    Transpose: {
      grad: (dy, _kept, { perm }) => ({ x: () => tf.transpose(dy, tf.backend_util.getUndoAxesPermutation(perm)) }),
    },
    SplitV: { grad: (dy, _kept, { axis }) => ({ x: () => tf.concat(dy, axis) }) },
    Concat: {
      grad(dy, parts: Tensor[], { axis }) {
        const [along] = tf.util.parseAxisParam(axis, parts[0]!.shape) as [number];
        const pieces = tf.split(
          dy,
          parts.map((part) => part.shape[along]!),
          along,
        );
        return Object.fromEntries(pieces.map((piece, i) => [i, () => piece]));
      },
    },
    // Rows by index only: axis 0.
    GatherV2: {
      keep: ["x", "indices"],
      grad: (dy, [x, indices]) => ({ x: () => tf.unsortedSegmentSum(dy, indices, x.shape[0]), indices: () => indices }),
    },
    BatchMatMul: {
      keep: ["a", "b"],
      grad(dy, [a, b], { transposeA, transposeB }) {
        return {
          a: () => (transposeA ? tf.matMul(b, dy, transposeB, true) : tf.matMul(dy, b, false, !transposeB)),
          b: () => (transposeB ? tf.matMul(dy, a, true, transposeA) : tf.matMul(a, dy, !transposeA, false)),
        };
      },
    },
  };
}
