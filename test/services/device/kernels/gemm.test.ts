// The matrix product against a scalar one, for all layouts, in both builds.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Random } from "../../../../services/device/engine/random.ts";
import { loadKernels, stackBytes } from "../../../../services/device/kernels/load.ts";

const memory = new WebAssembly.Memory({ initial: 256 });
const floats = new Float32Array(memory.buffer);
const builds = [false, true].map((relaxed) => loadKernels(memory, 0, { relaxed }));
const scratch = stackBytes;
const free = scratch + 4 * builds[0]!.call.gemm_scratch!();

interface Product {
  batch: number;
  m: number;
  n: number;
  k: number;
  ta: boolean;
  tb: boolean;
  accumulate: boolean;
}

/** Runs one product on the kernel; A, B and C lie one after another, surrounded by guards. */
function multiply(
  build: number,
  { batch, m, n, k, ta, tb, accumulate }: Product,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
) {
  const [atA, atB] = [free + 64, free + 128 + 4 * a.length];
  const atC = atB + 4 * b.length + 64;
  floats.fill(Number.NaN, free / 4, atC / 4 + c.length + 16);
  floats.set(a, atA / 4);
  floats.set(b, atB / 4);
  floats.set(c, atC / 4);
  const flags = [ta, tb, accumulate].map(Number);
  builds[build]!.call.gemm!(atA, atB, atC, batch, m, n, k, m * k, n * k, m * n, ...flags, scratch);
  const guards = [
    ...floats.subarray(atC / 4 - 16, atC / 4),
    ...floats.subarray(atC / 4 + c.length, atC / 4 + c.length + 16),
  ];
  assert.ok(guards.every(Number.isNaN), "wrote outside C");
  return floats.slice(atC / 4, atC / 4 + c.length);
}

function scalar({ batch, m, n, k, ta, tb, accumulate }: Product, a: Float32Array, b: Float32Array, c: Float32Array) {
  const out = new Float64Array(batch * m * n);
  for (let x = 0; x < batch; x++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = accumulate ? c[x * m * n + i * n + j]! : 0;
        for (let p = 0; p < k; p++) {
          const left = a[x * m * k + (ta ? p * m + i : i * k + p)]!;
          sum += left * b[x * n * k + (tb ? j * k + p : p * n + j)]!;
        }
        out[x * m * n + i * n + j] = sum;
      }
  return out;
}

const random = (seed: number, length: number) => {
  const source = new Random(seed);
  return Float32Array.from({ length }, () => source.uniform() - 0.5);
};

const size = (most: number) => fc.oneof(fc.integer({ min: 1, max: 13 }), fc.integer({ min: 1, max: most }));
const product = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  m: size(70),
  n: size(70),
  k: size(270),
  ta: fc.boolean(),
  tb: fc.boolean(),
  accumulate: fc.boolean(),
});

for (const [build, { relaxed }] of builds.entries()) {
  test(`gemm gives the scalar product for every layout (${relaxed ? "relaxed" : "baseline"} build)`, () => {
    const check = (p: Product) => {
      const [a, b, c] = [p.batch * p.m * p.k, p.batch * p.n * p.k, p.batch * p.m * p.n].map((n, i) => random(i + 1, n));
      const want = scalar(p, a!, b!, c!);
      const got = multiply(build, p, a!, b!, c!);
      const off = got.findIndex((value, i) => !(Math.abs(value - want[i]!) <= 2e-7 * p.k + 1e-6));
      assert.is(off, -1, `element ${off} is ${got[off]}, want ${want[off]}`);
    };
    fc.assert(fc.property(product, check), { numRuns: 150, seed: 7 });
    // Larger than each of the blocks.
    const wide = { batch: 1, m: 67, n: 530, k: 515, accumulate: true };
    for (const [ta, tb] of [
      [false, false],
      [false, true],
      [true, false],
    ] as const)
      check({ ...wide, ta, tb });
  });

  test(`a row has the same bits alone as among others (${relaxed ? "relaxed" : "baseline"} build)`, () => {
    const p = { batch: 1, m: 37, n: 45, k: 300, ta: false, tb: true, accumulate: false };
    const [a, b] = [random(1, p.m * p.k), random(2, p.n * p.k)];
    const all = multiply(build, p, a, b, new Float32Array(p.m * p.n));
    for (let i = 0; i < p.m; i++) {
      const alone = multiply(build, { ...p, m: 1 }, a.subarray(i * p.k, (i + 1) * p.k), b, new Float32Array(p.n));
      assert.equal(alone, all.slice(i * p.n, (i + 1) * p.n));
    }
  });
}

test.run();
