import { test } from "uvu";
import * as assert from "uvu/assert";
import { panelBytes } from "../../../../services/device/drivers/wasm/layout.ts";
import { loadKernels, stackBytes } from "../../../../services/device/kernels/load.ts";

const [controlAt, programAt, heap] = [stackBytes, stackBytes + 4096, stackBytes + 8192];
const kinds = {
  int8: { panel: "panel_i8", linear: 7 },
  int4: { panel: "panel_i4", linear: 13 },
} as const;
type Kind = keyof typeof kinds;

/** C = X W^T + bias of [rows, K] and [N, K] by the kernels, the blocks of W as they lie in memory, and W and X as they see them. */
function run(kind: Kind, rows: number, N: number, K: number, relaxed: boolean) {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
  const { call } = loadKernels(memory, 0, { relaxed });
  const [floats, words, bytes] = [
    new Float32Array(memory.buffer),
    new Uint32Array(memory.buffer),
    new Uint8Array(memory.buffer),
  ];
  let state = 5;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32 - 0.5;
  const w = Array.from({ length: N }, () => Float32Array.from({ length: K }, random));
  const bias = Float32Array.from({ length: N }, random);
  const x = Array.from({ length: rows }, () => Float32Array.from({ length: K }, () => 4 * random()));
  w[N - 1]!.fill(0);
  x[rows - 1]!.fill(0, 0, Math.min(K, 32));
  const even = 16 * Math.ceil(K / 16);
  const out = 16 * Math.ceil(N / 16);
  const size = panelBytes(kind, K);
  const scratch = heap;
  const weights = scratch + 4 * 16 * even;
  const from = weights + (out / 16) * size;
  const packed = from + 4 * rows * even;
  const biasAt = packed + 40 * rows * Math.ceil(K / 32);
  const to = biasAt + 4 * out;
  for (let panel = 0; 16 * panel < N; panel++) {
    const some = w.slice(16 * panel, 16 * panel + 16);
    for (const [i, row] of some.entries()) floats.set(row, scratch / 4 + i * K);
    call[kinds[kind].panel]!(scratch, some.length, K, weights + panel * size);
  }
  // What lies behind a row must not matter.
  floats.fill(Number.NaN, from / 4, from / 4 + rows * even);
  for (const [i, row] of x.entries()) floats.set(row, from / 4 + i * even);
  floats.set(bias, biasAt / 4);
  words.set([1, rows], controlAt / 4);
  words.set([5, 0, from, even, packed, K, 0], programAt / 4);
  words.set([kinds[kind].linear, 0, packed, weights, biasAt, to, out, N, K, 0, 0], programAt / 4 + 16);
  call.infer_lead!(controlAt, programAt);
  const c = x.map((_, i) => floats.slice(to / 4 + i * out, to / 4 + i * out + N));
  return { c, x, w, bias, blocks: bytes.slice(weights, weights + (out / 16) * size) };
}

/** Weight k of row n as the blocks have it. */
function weightOf(kind: Kind, blocks: Uint8Array, n: number, k: number, K: number): number {
  const panels = Math.floor(n / 16) * panelBytes(kind, K);
  const block = panels + Math.floor(k / 32) * panelBytes(kind, 32);
  const bf16 = (at: number): number => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint16(0, blocks[block + 2 * at]! + 256 * blocks[block + 2 * at + 1]!);
    return view.getFloat32(0);
  };
  const scale = bf16(n % 16);
  const first = block + (kind === "int8" ? 32 : 64);
  const at = (step: number) => first + (step * 16 + (n % 16)) * 4 + (k % 4);
  const inside = k % 32;
  return kind === "int8"
    ? (blocks[at(Math.floor(inside / 4))]! - 64) * scale
    : ((blocks[at(Math.floor((inside % 16) / 4))]! >> (inside < 16 ? 0 : 4)) & 15) * scale + bf16(16 + (n % 16));
}

/** What is left of activations that are bytes with a scale for each 32. */
function rounded(x: Float32Array): number[] {
  return Array.from(x, (value, k) => {
    const block = x.subarray(k - (k % 32), k - (k % 32) + 32);
    const scale = Math.max(...block.map(Math.abs)) / 127;
    return scale === 0 ? 0 : Math.round(value / scale) * scale;
  });
}

for (const kind of ["int8", "int4"] as const)
  for (const relaxed of [true, false])
    test(`${kind} products are those of the rounded numbers, ${relaxed ? "relaxed" : "portable"}`, () => {
      for (const [rows, N, K] of [
        [1, 16, 32],
        [2, 21, 64],
        [3, 5, 43],
        [4, 33, 97],
        [11, 18, 40],
      ] as const) {
        const { c, x, bias, blocks } = run(kind, rows, N, K, relaxed);
        for (const [i, row] of x.map(rounded).entries())
          for (let n = 0; n < N; n++) {
            const expected = row.reduce((sum, value, k) => sum + value * weightOf(kind, blocks, n, k, K), bias[n]!);
            // A half rounds up here and to even there: one step of one activation, at the most.
            assert.ok(Math.abs(c[i]![n]! - expected) < 2e-3, `[${rows},${N},${K}] ${i} ${n}: ${c[i]![n]} ${expected}`);
          }
      }
    });

test("a weight is off by half a step at most in int8, and by less than absmax would give on average in int4", () => {
  const [N, K] = [20, 96];
  for (const kind of ["int8", "int4"] as const) {
    const { w, blocks } = run(kind, 1, N, K, true);
    let [squares, plain] = [0, 0];
    for (let n = 0; n < N; n++)
      for (let k = 0; k < K; k++) {
        const block = w[n]!.subarray(k - (k % 32), k - (k % 32) + 32);
        const peak = Math.max(...block.map(Math.abs));
        const off = Math.abs(weightOf(kind, blocks, n, k, K) - w[n]![k]!);
        squares += off ** 2;
        plain += peak === 0 ? 0 : (w[n]![k]! - (Math.round((w[n]![k]! / peak) * 7) * peak) / 7) ** 2;
        // A bf16 scale may be 0.4 % short of the peak.
        if (kind === "int8") assert.ok(off <= (peak / 63) * (0.5 + 0.3), `${n} ${k}: ${off} of ${peak}`);
      }
    if (kind === "int4") assert.ok(squares < plain, `${squares} ${plain}`);
  }
});

test("a row gives the same bits alone and among others", () => {
  for (const kind of ["int8", "int4"] as const)
    for (const relaxed of [true, false]) {
      const whole = run(kind, 11, 18, 70, relaxed);
      // The last row of a run is special.
      for (const rows of [2, 3, 4, 5])
        assert.equal(run(kind, rows, 18, 70, relaxed).c.slice(0, -1), whole.c.slice(0, rows - 1));
    }
});

test.run();
