// Each fused operation against its plain composition, values and gradients, and both against finite differences.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../../../../services/device/engine/backend.ts";
import { type Ops, rotationTables } from "../../../../services/device/engine/ops.ts";
import { plainOps } from "../../../../services/device/engine/plain.ts";
import { Random } from "../../../../services/device/engine/random.ts";

const fused = (await wasmBackend()).ops;
const plain = plainOps(tf);

// Three examples of 1, 5 and 7 rows: odd lengths, so that every kernel meets its scalar rest.
const starts = Int32Array.of(0, 1, 6, 13);
const rows = 13;
const [heads, kvHeads, width] = [4, 2, 6];
const labels = Int32Array.from({ length: rows }, (_, r) => (r % 3 === 0 ? -100 : (r * 5) % 11));

interface Case {
  /** Shapes of the tensors that gradients are taken of. */
  shapes: number[][];
  run(ops: Ops, inputs: any[], fixed: Fixed): tf.Tensor;
}

interface Fixed {
  layout: ReturnType<Ops["layout"]>;
  rotation: ReturnType<typeof rotationTables>;
  ids: tf.Tensor1D;
  labels: tf.Tensor1D;
  target: tf.Tensor2D;
}

const cases: Record<string, Case> = {
  embed: { shapes: [[11, 7]], run: (ops, [table], { ids }) => ops.embed(table, ids) },
  linear: {
    shapes: [
      [rows, 7],
      [9, 7],
    ],
    run: (ops, [x, w]) => ops.linear(x, w),
  },
  "linear with bias": { shapes: [[rows, 7], [9, 7], [9]], run: (ops, [x, w, b]) => ops.linear(x, w, b) },
  rmsNorm: { shapes: [[rows, 10], [10]], run: (ops, [x, g]) => ops.rmsNorm(x, g, 1e-5) },
  rope: {
    shapes: [[rows, heads * width]],
    run: (ops, [x], { rotation, layout }) => ops.rope(x, heads, rotation, layout),
  },
  attention: {
    shapes: [
      [rows, heads * width],
      [rows, kvHeads * width],
      [rows, kvHeads * width],
    ],
    run: (ops, [q, k, v], { layout }) => ops.attention(q, k, v, heads, kvHeads, layout),
  },
  swiglu: {
    shapes: [
      [rows, 7],
      [rows, 7],
    ],
    run: (ops, [gate, up]) => ops.swiglu(gate, up),
  },
  crossEntropy: { shapes: [[rows, 11]], run: (ops, [logits], { labels }) => ops.crossEntropy(logits, labels, 0.25) },
  squaredError: { shapes: [[rows, 7]], run: (ops, [y], { target }) => ops.squaredError(y, target, 0.5) },
};

function randomValues(shapes: number[][], seed: number): Float32Array[] {
  const random = new Random(seed);
  return shapes.map((shape) => Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()));
}

interface Result {
  value: Float32Array;
  grads: Float32Array[];
}

/** The operation's value, and the gradients of its product with fixed random numbers. */
function evaluate(backend: string, ops: Ops, { shapes, run }: Case, values: Float32Array[]): Result {
  tf.setBackend(backend);
  const before = tf.memory().numTensors;
  const result = tf.tidy(() => {
    const layout = ops.layout(starts);
    const fixed: Fixed = {
      layout,
      rotation: rotationTables(tf, 8, width, 10000),
      ids: tf.tensor1d(
        labels.map((label) => Math.max(0, label)),
        "int32",
      ),
      labels: tf.tensor1d(labels, "int32"),
      target: tf.tensor2d(randomValues([[rows, 7]], 5)[0]!, [rows, 7]),
    };
    const inputs = values.map((data, i) => tf.tensor(data, shapes[i]!));
    const value = run(ops, inputs, fixed).dataSync() as Float32Array;
    const dy = randomValues([[value.length]], 3)[0]!;
    const grads = tf.grads((...xs: any[]) => {
      const y = run(ops, xs, fixed);
      return tf.sum(tf.mul(y, tf.tensor(dy, y.shape)));
    })(inputs);
    return { value, grads: grads.map((grad) => grad.dataSync() as Float32Array) };
  });
  assert.is(tf.memory().numTensors, before, "left tensors behind");
  return result;
}

function close(got: Float32Array, want: Float32Array, tolerance: number, what: string): void {
  const scale = Math.max(1e-3, ...want.map(Math.abs));
  assert.is(got.length, want.length);
  got.forEach((value, i) => {
    const off = Math.abs(value - want[i]!) / scale;
    assert.ok(off <= tolerance, `${what}[${i}] is ${value}, want ${want[i]} (off by ${off} of the largest)`);
  });
}

for (const [name, one] of Object.entries(cases)) {
  const values = randomValues(one.shapes, 1);
  test(`${name}: the fused version gives the reference's values and gradients`, () => {
    const want = evaluate("cpu", plain, one, values);
    const got = evaluate("wasm", fused, one, values);
    close(got.value, want.value, 2e-6, "value");
    for (const [i, grad] of got.grads.entries()) close(grad, want.grads[i]!, 5e-6, `gradient ${i}`);
  });

  test(`${name}: the reference gives the same on wasm as on cpu`, () => {
    const want = evaluate("cpu", plain, one, values);
    const got = evaluate("wasm", plain, one, values);
    close(got.value, want.value, 2e-6, "value");
    for (const [i, grad] of got.grads.entries()) close(grad, want.grads[i]!, 5e-6, `gradient ${i}`);
  });

  test(`${name}: gradients agree with finite differences`, () => {
    const dy = (result: Result) => {
      const weights = randomValues([[result.value.length]], 3)[0]!;
      return result.value.reduce((sum, value, i) => sum + value * weights[i]!, 0);
    };
    const { grads } = evaluate("wasm", fused, one, values);
    const random = new Random(9);
    for (let probe = 0; probe < 24; probe++) {
      const i = random.below(values.length);
      const at = random.below(values[i]!.length);
      const step = 1e-2;
      const moved = (by: number) => {
        const copy = values.map((data) => data.slice());
        copy[i]![at]! += by;
        return dy(evaluate("wasm", fused, one, copy));
      };
      const slope = (moved(step) - moved(-step)) / (2 * step);
      const scale = Math.max(1, ...grads[i]!.map(Math.abs));
      assert.ok(
        Math.abs(slope - grads[i]![at]!) / scale < 3e-3,
        `input ${i}[${at}]: slope ${slope}, gradient ${grads[i]![at]}`,
      );
    }
  });
}

test("rope turns pair i of a head by position * theta^(-2i / width), in halves as Hugging Face does", () => {
  const [positions, theta] = [8, 100];
  const x = randomValues([[positions, 2 * width]], 6)[0]!;
  const want = x.map((value, at) => {
    const [position, i] = [Math.floor(at / (2 * width)), at % width];
    const half = width / 2;
    const angle = position * theta ** ((-2 * (i % half)) / width);
    const other = i < half ? -x[at + half]! : x[at - half]!;
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
  for (const [backend, ops] of [
    ["wasm", fused],
    ["cpu", plain],
  ] as const) {
    tf.setBackend(backend);
    const got = tf.tidy(() => {
      const layout = ops.layout(Int32Array.of(0, positions));
      const rotation = rotationTables(tf, positions, width, theta);
      return ops.rope(tf.tensor2d(x, [positions, 2 * width]), 2, rotation, layout).dataSync() as Float32Array;
    });
    close(got, want, 1e-6, backend);
  }
});

test("the gradient of cross-entropy through softmax is y' - y", () => {
  const logits = Float32Array.of(1, 2, 0.5, -1);
  const exps = logits.map(Math.exp);
  const total = exps.reduce((a, b) => a + b);
  for (const [backend, ops] of [
    ["wasm", fused],
    ["cpu", plain],
  ] as const) {
    tf.setBackend(backend);
    const grad = tf.tidy(() => {
      const labels = tf.tensor1d([2], "int32");
      const grad = tf.grad((x) => ops.crossEntropy(x as tf.Tensor2D, labels, 1))(tf.tensor2d(logits, [1, 4]));
      return grad.dataSync() as Float32Array;
    });
    close(
      grad,
      exps.map((e, i) => e / total - (i === 2 ? 1 : 0)),
      1e-6,
      backend,
    );
  }
});

test.run();
