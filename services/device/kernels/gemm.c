// Owns the f32 matrix product: packed and blocked. An element of C is summed over K in one fixed order, whatever M, N, the
// batch or the element's place in a tile, so a row alone gives the same bits as the row among others.
#include "common.h"

// One tile of C is MR x NR: 8 accumulators, two rows of B and one of A fit the 16 registers that V8 has on x86.
#define MR 4
#define NR 8
// Blocks: KC x NC of B stays in L2, MC x KC of A and one KC x NR panel of B in L1/L2.
#define KC 256
#define NC 512
#define MC 64

// A 4 x 4 block from four rows `p`, `step` floats apart, written transposed to `o`, rows `out` floats apart.
INLINE void transpose_4x4(const f32 *p, u32 step, f32 *o, u32 out) {
  v128_t r0 = LD(p), r1 = LD(p + step), r2 = LD(p + 2 * step), r3 = LD(p + 3 * step);
  v128_t t0 = wasm_i32x4_shuffle(r0, r1, 0, 4, 1, 5), t1 = wasm_i32x4_shuffle(r0, r1, 2, 6, 3, 7);
  v128_t t2 = wasm_i32x4_shuffle(r2, r3, 0, 4, 1, 5), t3 = wasm_i32x4_shuffle(r2, r3, 2, 6, 3, 7);
  ST(o, wasm_i64x2_shuffle(t0, t2, 0, 2));
  ST(o + out, wasm_i64x2_shuffle(t0, t2, 1, 3));
  ST(o + 2 * out, wasm_i64x2_shuffle(t1, t3, 0, 2));
  ST(o + 3 * out, wasm_i64x2_shuffle(t1, t3, 1, 3));
}

// Copies `lines` lines (rows of A or columns of B) of length kc into panels of `width` lines, k outermost inside a panel; a
// last short panel is filled with zeros. Lines are `line` floats apart, elements of a line `along` apart. `width` is 4 or 8.
INLINE void pack(const f32 *from, u32 line, u32 along, u32 lines, u32 kc, u32 width, f32 *to) {
  for (u32 first = 0; first < lines; first += width, to += kc * width) {
    u32 count = min_u32(width, lines - first);
    const f32 *p = from + first * line;
    if (count == width && line == 1) {
      for (u32 k = 0; k < kc; k++)
        for (u32 h = 0; h < width; h += 4) ST(to + k * width + h, LD(p + k * along + h));
    } else if (count == width && along == 1) {
      u32 k = 0;
      for (; k + 4 <= kc; k += 4)
        for (u32 h = 0; h < width; h += 4) transpose_4x4(p + h * line + k, line, to + k * width + h, width);
      for (; k < kc; k++)
        for (u32 h = 0; h < width; h++) to[k * width + h] = p[h * line + k];
    } else {
      for (u32 k = 0; k < kc; k++)
        for (u32 h = 0; h < width; h++) to[k * width + h] = h < count ? p[h * line + k * along] : 0;
    }
  }
}

// One MR x NR tile over kc steps of packed panels; writes only the first `rows` x `cols`.
INLINE void tile(u32 kc, const f32 *a, const f32 *b, f32 *c, u32 c_row, u32 rows, u32 cols, u32 accumulate) {
  v128_t c00 = SPLAT(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  for (u32 k = 0; k < kc; k++) {
    v128_t b0 = LD(b), b1 = LD(b + 4), x;
    x = wasm_v128_load32_splat(a), c00 = MADD(x, b0, c00), c01 = MADD(x, b1, c01);
    x = wasm_v128_load32_splat(a + 1), c10 = MADD(x, b0, c10), c11 = MADD(x, b1, c11);
    x = wasm_v128_load32_splat(a + 2), c20 = MADD(x, b0, c20), c21 = MADD(x, b1, c21);
    x = wasm_v128_load32_splat(a + 3), c30 = MADD(x, b0, c30), c31 = MADD(x, b1, c31);
    a += MR;
    b += NR;
  }
  v128_t sums[MR][2] = {{c00, c01}, {c10, c11}, {c20, c21}, {c30, c31}};
  if (rows == MR && cols == NR) {
#pragma clang loop unroll(full)
    for (u32 i = 0; i < MR; i++) {
      f32 *row = c + i * c_row;
      ST(row, accumulate ? ADD(LD(row), sums[i][0]) : sums[i][0]);
      ST(row + 4, accumulate ? ADD(LD(row + 4), sums[i][1]) : sums[i][1]);
    }
    return;
  }
  f32 edge[MR * NR];
#pragma clang loop unroll(full)
  for (u32 i = 0; i < MR; i++) ST(edge + i * NR, sums[i][0]), ST(edge + i * NR + 4, sums[i][1]);
  for (u32 i = 0; i < rows; i++)
    for (u32 j = 0; j < cols; j++) c[i * c_row + j] = accumulate ? c[i * c_row + j] + edge[i * NR + j] : edge[i * NR + j];
}

void gemm_strided(const f32 *a, u32 a_row, u32 a_col, const f32 *b, u32 b_row, u32 b_col, f32 *c, u32 c_row, u32 M, u32 N,
                  u32 K, u32 accumulate, f32 *scratch) {
  f32 *packed_b = scratch, *packed_a = scratch + KC * NC;
  for (u32 n = 0; n < N; n += NC) {
    u32 nc = min_u32(NC, N - n);
    for (u32 k = 0; k < K; k += KC) {
      u32 kc = min_u32(KC, K - k), add = accumulate || k > 0;
      pack(b + k * b_row + n * b_col, b_col, b_row, nc, kc, NR, packed_b);
      for (u32 m = 0; m < M; m += MC) {
        u32 mc = min_u32(MC, M - m);
        pack(a + m * a_row + k * a_col, a_row, a_col, mc, kc, MR, packed_a);
        for (u32 j = 0; j < nc; j += NR)
          for (u32 i = 0; i < mc; i += MR)
            tile(kc, packed_a + i * kc, packed_b + j * kc, c + (m + i) * c_row + n + j, c_row, min_u32(MR, mc - i),
                 min_u32(NR, nc - j), add);
      }
    }
  }
}

// Floats of scratch that gemm needs, whatever the shapes.
EXPORT u32 gemm_scratch(void) { return KC * NC + MC * KC; }

// C[i] (+)= op(A[i]) op(B[i]) for `batch` products, all row-major: A is [M,K] or, transposed, [K,M]; B is [K,N] or [N,K]; C
// is [M,N]. The strides are the floats from one matrix of a batch to the next; 0 repeats the same one.
EXPORT void gemm(const f32 *a, const f32 *b, f32 *c, u32 batch, u32 M, u32 N, u32 K, u32 a_stride, u32 b_stride, u32 c_stride,
                 u32 transpose_a, u32 transpose_b, u32 accumulate, f32 *scratch) {
  for (u32 i = 0; i < batch; i++)
    gemm_strided(a + i * a_stride, transpose_a ? 1 : K, transpose_a ? M : 1, b + i * b_stride, transpose_b ? 1 : N,
                 transpose_b ? K : 1, c + i * c_stride, N, M, N, K, accumulate, scratch);
}

// 1 if MADD rounds once on this host: two hosts agree bit for bit only where this agrees. (1 + 2^-12)^2 - 1 is 2^-11 + 2^-24
// exactly; rounding the product first loses the last term.
EXPORT u32 madd_is_fused(void) {
  volatile f32 x = 1.000244140625f, minus_one = -1.0f;
  v128_t v = SPLAT(x);
  return wasm_f32x4_extract_lane(MADD(v, v, SPLAT(minus_one)), 0) != 0.00048828125f;
}
