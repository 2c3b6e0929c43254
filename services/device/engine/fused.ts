// Owns the fused operations: our kernels inside TensorFlow.js's WebAssembly memory, as custom gradients, without copies.
import type { Scalar, Tensor, Tensor2D } from "@tensorflow/tfjs-core";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { type Kernels, loadKernels, stackBytes } from "../kernels/load.ts";
import { type Ops, rowPositions, type Tf } from "./ops.ts";

// TensorFlow.js 4.22's private parts that we stand on; the version is pinned.
interface WasmBackend {
  wasm: { asm: { memory: WebAssembly.Memory }; _malloc(bytes: number): number };
  dataIdMap: { get(dataId: object): { memoryOffset: number } };
  makeOutput(shape: number[], dtype: "float32" | "int32"): object;
}

export interface FusedOptions {
  relaxed?: boolean;
  /** Called before each operation, forwards and backwards. */
  before?: () => void;
}

/** The kernels, loaded once into the memory of `tf`'s wasm backend, which must be the current one. */
export function loadFused(tf: Tf, options: FusedOptions = {}): { ops: Ops; numerics: string } {
  const backend = tf.backend() as unknown as WasmBackend;
  const stack = allocate(backend, stackBytes);
  const kernels = loadKernels(backend.wasm.asm.memory, stack, options);
  const scratch = allocate(backend, 4 * kernels.call.gemm_scratch!());
  return { ops: fusedOps(tf, backend, kernels, scratch, options.before), numerics: kernels.numerics };
}

function allocate(backend: WasmBackend, bytes: number): number {
  const address = backend.wasm._malloc(bytes + 16) >>> 0;
  if (address === 0)
    throw new SomaError("ENOMEM", `no ${bytes} bytes left in the tensor memory: train with a smaller batch`);
  return (address + 15) & ~15;
}

function fusedOps(tf: Tf, backend: WasmBackend, { call: k }: Kernels, scratch: number, before = () => {}): Ops {
  const at = (tensor: Tensor) => backend.dataIdMap.get(tensor.dataId).memoryOffset;

  const view = (tensor: Tensor) => new Float32Array(backend.wasm.asm.memory.buffer, at(tensor), tensor.size);

  // A tensor with whatever was in its memory. A full heap gives address 0 without any error, and writing there corrupts
  // everything: this check is what stands between.
  function empty<T extends Tensor>(...shape: number[]): T {
    const tensor = tf.engine().makeTensorFromTensorInfo(backend.makeOutput(shape, "float32") as any) as T;
    if (at(tensor) === 0 && tensor.size > 0) {
      throw new SomaError("ENOMEM", `the tensor memory is full at a tensor of [${shape}]: train with a smaller batch`);
    }
    return tensor;
  }
  const like = <T extends Tensor>(tensor: T) => empty<T>(...tensor.shape);
  // A loss that is differentiated itself has dy 1, and nothing to multiply.
  const times = (grad: Tensor, dy: Tensor) => (dy.dataSync()[0] === 1 ? tf.clone(grad) : tf.mul(grad, dy));
  const scalar = (value: number) => tf.scalar(value) as Scalar;
  const gemm = (a: Tensor, b: Tensor, c: Tensor, m: number, n: number, depth: number, ta: number, tb: number) => {
    k.gemm!(at(a), at(b), at(c), 1, m, n, depth, 0, 0, 0, ta, tb, 0, scratch);
    return c;
  };

  // TensorFlow.js keeps each dy until the whole way back is done, though only the operation that made y reads it. Freed at
  // once, the way back needs little memory of its own.
  const custom = (forward: (...inputs: any[]) => { value: Tensor; gradFunc: (dy: Tensor, saved: Tensor[]) => any }) => {
    return tf.customGrad((...inputs: any[]) => {
      before();
      const { value, gradFunc } = forward(...inputs);
      return {
        value,
        gradFunc(dy: Tensor, saved: Tensor[]) {
          before();
          const gradients = gradFunc(dy, saved);
          dy.dispose();
          return gradients;
        },
      };
    });
  };

  return {
    layout(starts) {
      const { positions, longest } = rowPositions(starts);
      return {
        starts,
        longest,
        positions: tf.tensor1d(positions, "int32"),
        tensors: { starts: tf.tensor1d(starts, "int32") },
      };
    },

    embed(table, ids) {
      const [rows, width] = [ids.size, table.shape[1]];
      return custom((table: any) => {
        const value = empty<Tensor2D>(rows, width);
        k.gather_rows!(at(table), at(ids), at(value), rows, width);
        const shape = table.shape;
        const gradFunc = (dy: Tensor) => {
          const grad = tf.zeros(shape);
          k.scatter_add_rows!(at(dy), at(ids), at(grad), rows, width);
          return grad;
        };
        return { value, gradFunc };
      })(table) as Tensor2D;
    },

    linear(x, weight, bias) {
      const [rows, depth] = x.shape;
      const width = weight.shape[0];
      const product = custom((x: any, weight: any, save: any) => {
        const value = gemm(x, weight, empty(rows, width), rows, width, depth, 0, 1);
        save([x, weight]);
        const gradFunc = (dy: Tensor, saved: Tensor[]) => {
          const [x, weight] = saved as [Tensor, Tensor];
          return [
            gemm(dy, weight, like(x), rows, depth, width, 0, 0),
            gemm(dy, x, like(weight), width, depth, rows, 1, 0),
          ];
        };
        return { value, gradFunc };
      })(x, weight) as Tensor2D;
      return bias ? tf.add(product, bias) : product;
    },

    rmsNorm(x, gain, epsilon) {
      const [rows, width] = x.shape;
      return custom((x: any, gain: any, save: any) => {
        const value = like(x);
        const inverse = empty(rows);
        k.rms_norm!(at(x), at(gain), at(value), at(inverse), rows, width, epsilon);
        save([x, gain, inverse]);
        const gradFunc = (dy: Tensor, saved: Tensor[]) => {
          const [x, gain, inverse] = saved as [Tensor, Tensor, Tensor];
          const [dx, dgain] = [like(x), like(gain)];
          k.rms_norm_grad!(at(x), at(gain), at(inverse), at(dy), at(dx), at(dgain), rows, width);
          return [dx, dgain];
        };
        return { value, gradFunc };
      })(x, gain) as Tensor2D;
    },

    rope(x, heads, { cos, sin }, { positions }) {
      const [rows, columns] = x.shape;
      const turn = (from: Tensor, direction: number) => {
        const to = like(from);
        k.rope!(at(from), at(cos), at(sin), at(positions), at(to), rows, heads, columns / heads / 2, direction);
        return to;
      };
      return custom((x: any) => ({ value: turn(x, 1), gradFunc: (dy: Tensor) => turn(dy, -1) }))(x) as Tensor2D;
    },

    attention(q, k_, v, heads, kvHeads, { starts, longest, tensors }) {
      const width = q.shape[1] / heads;
      const [examples, scale, first] = [starts.length - 1, 1 / Math.sqrt(width), at(tensors.starts!)];
      let cells = 0;
      for (let e = 0; e < examples; e++) cells += (starts[e + 1]! - starts[e]!) ** 2;
      return custom((q: any, key: any, v: any, save: any) => {
        const [value, weights] = [like(q), empty(heads * cells)];
        k.attention!(
          at(q),
          at(key),
          at(v),
          at(value),
          at(weights),
          first,
          examples,
          heads,
          kvHeads,
          width,
          scale,
          scratch,
        );
        save([q, key, v, weights]);
        const gradFunc = (dy: Tensor, saved: Tensor[]) => {
          const grads = [like(saved[0]!), like(saved[1]!), like(saved[2]!)];
          const scores = empty(longest, longest);
          const [from, to] = [saved.map(at), grads.map(at)];
          k.attention_grad!(...from, at(dy), ...to, first, examples, heads, kvHeads, width, scale, at(scores), scratch);
          scores.dispose();
          return grads;
        };
        return { value, gradFunc };
      })(q, k_, v) as Tensor2D;
    },

    swiglu(gate, up) {
      return custom((gate: any, up: any, save: any) => {
        const value = like(gate);
        k.swiglu!(at(gate), at(up), at(value), gate.size);
        save([gate, up]);
        const gradFunc = (dy: Tensor, saved: Tensor[]) => {
          const [gate, up] = saved as [Tensor, Tensor];
          const [dgate, dup] = [like(gate), like(up)];
          k.swiglu_grad!(at(gate), at(up), at(dy), at(dgate), at(dup), gate.size);
          return [dgate, dup];
        };
        return { value, gradFunc };
      })(gate, up) as Tensor2D;
    },

    crossEntropy(logits, labels, scale) {
      const [rows, classes] = logits.shape;
      return custom((logits: any, save: any) => {
        const grad = like(logits);
        const loss = k.cross_entropy!(at(logits), at(labels), at(grad), rows, classes, scale);
        save([grad]);
        return { value: scalar(loss), gradFunc: (dy: Tensor, [grad]: Tensor[]) => times(grad!, dy) };
      })(logits) as Scalar;
    },

    squaredError(y, target, scale) {
      return custom((y: any, save: any) => {
        const grad = like(y);
        const loss = k.squared_error!(at(y), at(target), at(grad), y.size, scale);
        save([grad]);
        return { value: scalar(loss), gradFunc: (dy: Tensor, [grad]: Tensor[]) => times(grad!, dy) };
      })(y) as Scalar;
    },

    sumOfSquares: (x) => k.sum_of_squares!(at(x), x.size),

    read: view,

    replace(x, values) {
      view(x).set(values);
      return x;
    },

    // In place: safe because none of the fused operations lets XNNPACK cache a packed copy of a weight.
    adam(weight, gradient, m, v, { lr, beta1, beta2, epsilon, step, decay, l2, clip }) {
      const rate = lr / (1 - beta1 ** step);
      const inverse = 1 / (1 - beta2 ** step);
      const [to, n] = [[weight, gradient, m, v].map(at), weight.size];
      k.adam!(...to, n, rate, beta1, beta2, epsilon, inverse, 1 - lr * decay, l2, clip);
    },

    sgd(weight, gradient, m, { lr, momentum, l2, clip }) {
      k.sgd!(...[weight, gradient, m].map(at), weight.size, lr, momentum, l2, clip);
    },
  };
}
