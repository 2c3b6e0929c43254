// The parameter updates: by hand, fused against plain, and clipping.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../../../../services/device/engine/backend.ts";
import { clipFactor, optimizers } from "../../../../services/device/engine/optimizer.ts";
import { plainOps } from "../../../../services/device/engine/plain.ts";
import { Random } from "../../../../services/device/engine/random.ts";
import { parseSpec, type TrainSpecInput } from "../../../../services/device/engine/spec.ts";

const sets = [
  ["wasm", (await wasmBackend()).ops],
  ["cpu", plainOps(tf)],
] as const;
const random = new Random(2);
const values = (n: number) => Float32Array.from({ length: n }, () => random.normal());
const start = values(14);
const gradients = [values(14), values(14), values(14)];

/** The weight after the three gradients, with these settings; the shape decides whether it is decayed. */
function run(
  backend: string,
  ops: (typeof sets)[number][1],
  settings: Partial<TrainSpecInput>,
  shape: number[],
  clip = 1,
) {
  tf.setBackend(backend);
  const spec = parseSpec({ config: {}, steps: 3, ...settings });
  const optimizer = optimizers[spec.optimizer];
  const variable = (data: Float32Array) => tf.variable(tf.tensor(data, shape));
  const slot = { weight: variable(start), moments: optimizer.moments.map(() => variable(new Float32Array(14))) };
  gradients.forEach((gradient, i) => {
    optimizer.update(ops, slot, tf.tensor(gradient, shape), spec, { step: i + 1, lr: spec.lr, clip });
  });
  return slot.weight.dataSync() as Float32Array;
}

function close(got: Float32Array, want: ArrayLike<number>, tolerance: number, what: string): void {
  for (const [i, value] of got.entries()) {
    assert.ok(Math.abs(value - want[i]!) <= tolerance, `${what}[${i}] is ${value}, want ${want[i]}`);
  }
}

for (const [backend, ops] of sets) {
  test(`sgd moves a weight by exactly -lr * gradient (${backend})`, () => {
    const got = run(backend, ops, { optimizer: "sgd", lr: 0.125 }, [14]);
    const want = start.slice();
    for (const gradient of gradients)
      for (let i = 0; i < 14; i++) want[i] = Math.fround(want[i]! - Math.fround(0.125 * gradient[i]!));
    assert.equal(got, want);
  });

  test(`sgd with momentum adds up what came before (${backend})`, () => {
    const got = run(backend, ops, { optimizer: "sgd", lr: 0.1, momentum: 0.5 }, [14]);
    const want = Array.from(start, (w, i) => {
      const [a, b, c] = gradients.map((gradient) => gradient[i]!) as [number, number, number];
      return w - 0.1 * (a + (b + 0.5 * a) + (c + 0.5 * (b + 0.5 * a)));
    });
    close(got, want, 1e-6, backend);
  });

  for (const optimizer of ["adam", "adamw"] as const) {
    test(`${optimizer} follows its formula, decaying matrices only (${backend})`, () => {
      for (const [shape, decayed] of [
        [[2, 7], true],
        [[14], false],
      ] as const) {
        const got = run(backend, ops, { optimizer, lr: 0.01, weightDecay: 0.1 }, [...shape], 0.5);
        close(got, adamByHand(optimizer, decayed ? 0.1 : 0), 2e-6, `${backend} [${shape}]`);
      }
    });
  }
}

function adamByHand(kind: "adam" | "adamw", decay: number): number[] {
  return Array.from(start, (first, i) => {
    let [w, m, v] = [first, 0, 0];
    gradients.forEach((gradient, t) => {
      const g = gradient[i]! * 0.5 + (kind === "adam" ? decay * w : 0);
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      const shrunk = kind === "adamw" ? w * (1 - 0.01 * decay) : w;
      w = shrunk - (0.01 * (m / (1 - 0.9 ** (t + 1)))) / (Math.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8);
    });
    return w;
  });
}

test("clipping brings a long gradient to the limit and leaves a short one", () => {
  assert.is(clipFactor(4, 1), 0.25);
  assert.is(clipFactor(0.5, 1), 1);
  assert.is(clipFactor(4, 0), 1);
});

test.run();
