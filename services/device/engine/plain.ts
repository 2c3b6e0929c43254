// Owns the reference: every operation as a composition of TensorFlow.js operations, gradients by TensorFlow.js.
import type { Scalar, Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs-core";
import { type Ops, rowPositions, type Tf } from "./ops.ts";

/** The operations on whatever backend `tf` has set. */
export function plainOps(tf: Tf): Ops {
  return {
    // Attention wants rectangles: `pad` lists, for each example and position up to the longest, the row (or row 0 where the
    // example has ended), `unpad` the way back. Padding comes after all real tokens, so the causal mask hides it.
    layout(starts) {
      const { positions, longest } = rowPositions(starts);
      const pad = new Int32Array((starts.length - 1) * longest);
      const unpad = new Int32Array(positions.length);
      for (let e = 0; e + 1 < starts.length; e++) {
        for (let row = starts[e]!; row < starts[e + 1]!; row++) {
          unpad[row] = e * longest + positions[row]!;
          pad[unpad[row]!] = row;
        }
      }
      const mask = Float32Array.from({ length: longest * longest }, (_, i) => {
        return i % longest > Math.floor(i / longest) ? -1e9 : 0;
      });
      return {
        starts,
        longest,
        positions: tf.tensor1d(positions, "int32"),
        tensors: {
          pad: tf.tensor1d(pad, "int32"),
          unpad: tf.tensor1d(unpad, "int32"),
          mask: tf.tensor2d(mask, [longest, longest]),
        },
      };
    },

    embed: (table, ids) => tf.gather(table, ids) as Tensor2D,

    linear(x, weight, bias) {
      const y = tf.matMul(x, weight, false, true) as Tensor2D;
      return bias ? tf.add(y, bias) : y;
    },

    rmsNorm(x, gain, epsilon) {
      const meanSquare = tf.mul(tf.sum(tf.square(x), -1, true), 1 / x.shape[1]);
      const inverse = tf.rsqrt(tf.add(meanSquare, epsilon));
      return tf.mul(tf.mul(x, inverse), gain);
    },

    rope(x, heads, { cos, sin }, { positions }) {
      const [rows, columns] = x.shape;
      const half = columns / heads / 2;
      const [c, s] = [cos, sin].map((table) => tf.reshape(tf.gather(table, positions), [rows, 1, half])) as [
        Tensor,
        Tensor,
      ];
      const [a, b] = tf.split(tf.reshape(x, [rows, heads, 2 * half]), 2, -1) as [Tensor, Tensor];
      const turned = tf.concat([tf.sub(tf.mul(a, c), tf.mul(b, s)), tf.add(tf.mul(b, c), tf.mul(a, s))], -1);
      return tf.reshape(turned, [rows, columns]);
    },

    attention(q, k, v, heads, kvHeads, { starts, longest, tensors }) {
      const { pad, unpad, mask } = tensors as { pad: Tensor1D; unpad: Tensor1D; mask: Tensor2D };
      const examples = starts.length - 1;
      const width = q.shape[1] / heads;
      const group = heads / kvHeads;
      // [R, kvHeads * n * width] -> [examples * kvHeads, n * longest, width]: the query heads of a group share its keys.
      const fold = (x: Tensor2D, n: number) => {
        const square = tf.reshape(tf.gather(x, pad), [examples, longest, kvHeads, n, width]);
        return tf.reshape(tf.transpose(square, [0, 2, 3, 1, 4]), [examples * kvHeads, n * longest, width]);
      };
      const scores = tf.mul(tf.matMul(fold(q, group), fold(k, 1), false, true), 1 / Math.sqrt(width));
      const masked = tf.add(tf.reshape(scores, [examples * kvHeads, group, longest, longest]), mask);
      const weights = tf.reshape(tf.softmax(masked, -1), [examples * kvHeads, group * longest, longest]);
      const mixed = tf.reshape(tf.matMul(weights, fold(v, 1)), [examples, kvHeads, group, longest, width]);
      const rows = tf.reshape(tf.transpose(mixed, [0, 3, 1, 2, 4]), [examples * longest, heads * width]);
      return tf.gather(rows, unpad) as Tensor2D;
    },

    swiglu: (gate, up) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up),

    crossEntropy(logits, labels, scale) {
      const counted = tf.cast(tf.greaterEqual(labels, 0), "float32");
      const chosen = tf.oneHot(tf.maximum(labels, tf.scalar(0, "int32")), logits.shape[1]);
      const logLikelihood = tf.sum(tf.mul(tf.logSoftmax(logits), chosen), -1);
      return tf.mul(tf.sum(tf.mul(logLikelihood, counted)), -scale) as Scalar;
    },

    squaredError: (y, target, scale) => tf.mul(tf.sum(tf.square(tf.sub(y, target))), scale) as Scalar,

    sumOfSquares: (x) => tf.tidy(() => tf.sum(tf.square(x)).dataSync()[0]!),

    read: (x) => x.dataSync() as Float32Array,

    replace(x, values) {
      x.dispose();
      return tf.tensor(values, x.shape, "float32");
    },

    adam(weight, gradient, m, v, { lr, beta1, beta2, epsilon, step, decay, l2, clip }) {
      tf.tidy(() => {
        const g = tf.add(tf.mul(gradient, clip), tf.mul(weight, l2));
        m.assign(tf.add(tf.mul(m, beta1), tf.mul(g, 1 - beta1)));
        v.assign(tf.add(tf.mul(v, beta2), tf.mul(tf.square(g), 1 - beta2)));
        const size = tf.add(tf.sqrt(tf.div(v, 1 - beta2 ** step)), epsilon);
        const move = tf.div(tf.mul(m, lr / (1 - beta1 ** step)), size);
        weight.assign(tf.sub(tf.mul(weight, 1 - lr * decay), move));
      });
    },

    sgd(weight, gradient, m, { lr, momentum, l2, clip }) {
      tf.tidy(() => {
        const g = tf.add(tf.mul(gradient, clip), tf.mul(weight, l2));
        m.assign(tf.add(tf.mul(m, momentum), g));
        weight.assign(tf.sub(weight, tf.mul(m, lr)));
      });
    },
  };
}
