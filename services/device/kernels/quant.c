// Owns quantised weights. Both kinds lie in blocks of BLOCK_K terms of a panel's 16 outputs, 4 terms of an output side by side.
// int8: 16 scales (bf16), then one byte a weight, 1..127 around 64, [8][16][4]. int4: 16 scales and 16 least weights (bf16),
// then half a byte a weight, 0..15 steps above the least; low halves are terms 0..15 of the block, high halves terms 16..31,
// [4][16][4]: what Q4_1 and Q4_K of GGUF hold comes through as it is, but for the rounding of scales.
// Activations are signed bytes with one scale a block and row, so a block's sum of products is an exact integer, however it
// is added up; these sums are scaled and added in the order of the blocks. A block's sum of activations comes with them: 64
// times it is what unsigned int8 weights are too much by, and the least weight times it is what int4 lacks.
#include "infer.h"

#define BLOCK_K 32
#define STEPS (BLOCK_K / 4)
// Bytes of a block of weights before the weights, of all of it, and of one row's block of activations: scale, sum (i32), bytes.
#define HEAD(bits) ((bits) == 8 ? 2 * PANEL : 4 * PANEL)
#define BYTES_I8 (HEAD(8) + BLOCK_K * PANEL)
#define BYTES_I4 (HEAD(4) + BLOCK_K * PANEL / 2)
#define BYTES_X (8 + BLOCK_K)

// Loops over steps are not unrolled: V8 would keep the loads of all steps in registers, and has 15 of those.
#define ROLLED _Pragma("clang loop unroll(disable)")
#define UNROLLED _Pragma("clang loop unroll(full)")

INLINE u32 blocks_of(u32 K) { return (K + BLOCK_K - 1) / BLOCK_K; }

// The weights of vector v (outputs 4 v .. 4 v + 3) of step k. 4 bits: of step k and, in `high`, of the one half a block on.
INLINE v128_t weights_of(const u32 bits, const u8 *w, u32 k, u32 v, v128_t *high) {
  v128_t both = LD(w + (k * PANEL + 4 * v) * 4);
  if (bits == 8) return both;
  *high = wasm_v128_and(wasm_u16x8_shr(both, 4), wasm_i8x16_splat(15));
  return wasm_v128_and(both, wasm_i8x16_splat(15));
}

#ifdef __wasm_relaxed_simd__
// sums[R][V] += products of one step. A dot product of bytes that are 0..127 on the one side is exact on every host. It gives
// 16-bit sums of two terms; eight of those with 4-bit weights stay below 8 * 2 * 15 * 127 < 2^15, so they are widened once a
// block; with 8-bit weights each time.
INLINE void step(const u32 bits, const u32 R, const u32 V, const i8 *x, const v128_t *b, v128_t *sums) {
  UNROLLED
  for (u32 i = 0; i < R; i++) {
    v128_t a = wasm_v128_load32_splat(x + i * 4);
    UNROLLED
    for (u32 v = 0; v < V; v++) {
      v128_t pairs = __builtin_wasm_relaxed_dot_i8x16_i7x16_s_i16x8(a, b[v]), *sum = sums + i * V + v;
      *sum = bits == 4 ? wasm_i16x8_add(*sum, pairs)
                       : wasm_i32x4_add(*sum, wasm_i32x4_dot_i16x8(pairs, wasm_i16x8_splat(1)));
    }
  }
}

// sums[R][V] = products of one block. x: [8][R][4]. R and V must be literals.
INLINE void block_sums(const u32 bits, const u32 R, const u32 V, const i8 *x, const u8 *w, v128_t *sums) {
  UNROLLED
  for (u32 i = 0; i < R * V; i++) sums[i] = wasm_i32x4_splat(0);
  ROLLED
  for (u32 k = 0; k < (bits == 8 ? STEPS : STEPS / 2); k++) {
    v128_t b[4], high[4];
    UNROLLED
    for (u32 v = 0; v < V; v++) b[v] = weights_of(bits, w, k, v, high + v);
    step(bits, R, V, x + k * R * 4, b, sums);
    if (bits == 4) step(bits, R, V, x + (k + STEPS / 2) * R * 4, high, sums);
  }
  if (bits == 8) return;
  UNROLLED
  for (u32 i = 0; i < R * V; i++) sums[i] = wasm_i32x4_dot_i16x8(sums[i], wasm_i16x8_splat(1));
}
#else
// sums[R][V] = products of one block, two outputs of four terms at a time as 16-bit numbers; the two halves of an output are
// added at the end. x: [8][R][4]. R and V must be literals.
INLINE void step(const u32 R, const i8 *x, v128_t b, v128_t *low, v128_t *high) {
  v128_t b0 = wasm_u16x8_extend_low_u8x16(b), b1 = wasm_u16x8_extend_high_u8x16(b);
  UNROLLED
  for (u32 i = 0; i < R; i++) {
    v128_t a = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(x + i * 4));
    low[i] = wasm_i32x4_add(low[i], wasm_i32x4_dot_i16x8(a, b0));
    high[i] = wasm_i32x4_add(high[i], wasm_i32x4_dot_i16x8(a, b1));
  }
}

INLINE void block_sums(const u32 bits, const u32 R, const u32 V, const i8 *x, const u8 *w, v128_t *sums) {
  UNROLLED
  for (u32 v = 0; v < V; v++) {
    v128_t low[4], high[4];
    UNROLLED
    for (u32 i = 0; i < R; i++) low[i] = high[i] = wasm_i32x4_splat(0);
    ROLLED
    for (u32 k = 0; k < (bits == 8 ? STEPS : STEPS / 2); k++) {
      v128_t later, b = weights_of(bits, w, k, v, &later);
      step(R, x + k * R * 4, b, low, high);
      if (bits == 4) step(R, x + (k + STEPS / 2) * R * 4, later, low, high);
    }
    UNROLLED
    for (u32 i = 0; i < R; i++)
      sums[i * V + v] = wasm_i32x4_add(wasm_i32x4_shuffle(low[i], high[i], 0, 2, 4, 6),
                                       wasm_i32x4_shuffle(low[i], high[i], 1, 3, 5, 7));
  }
}
#endif

INLINE v128_t bf16s(const u8 *at) { return wasm_i32x4_shl(wasm_u32x4_load16x4(at), 16); }

// c[R][4 V] += X W over all blocks. x: blocks of R rows: R scales, R sums, [8][R][4]. w: a panel, from output `first`.
INLINE void tile_quant(const u32 bits, const u32 R, const u32 V, u32 blocks, const u8 *x, const u8 *w, u32 first, f32 *c,
                       u32 c_row) {
  for (u32 block = 0; block < blocks; block++, x += R * BYTES_X, w += bits == 8 ? BYTES_I8 : BYTES_I4) {
    v128_t sums[8];
    block_sums(bits, R, V, (const i8 *)x + 8 * R, w + HEAD(bits) + 4 * first, sums);
    UNROLLED
    for (u32 v = 0; v < V; v++) {
      v128_t w_scale = bf16s(w + 2 * (first + 4 * v));
      v128_t least = bits == 4 ? bf16s(w + 2 * (PANEL + first + 4 * v)) : SPLAT(0);
      UNROLLED
      for (u32 i = 0; i < R; i++) {
        f32 *to = c + i * c_row + 4 * v;
        v128_t x_scale = wasm_v128_load32_splat(x + 4 * i), x_sum = wasm_v128_load32_splat(x + 4 * (R + i)), sum = sums[i * V + v];
        if (bits == 8) {
          sum = wasm_i32x4_sub(sum, wasm_i32x4_shl(x_sum, 6));
          ST(to, MADD(wasm_f32x4_convert_i32x4(sum), MUL(w_scale, x_scale), LD(to)));
        } else {
          // (q scale + least) x, all terms of the block at once.
          v128_t all = MADD(wasm_f32x4_convert_i32x4(sum), w_scale, MUL(wasm_f32x4_convert_i32x4(x_sum), least));
          ST(to, MADD(all, x_scale, LD(to)));
        }
      }
    }
  }
}

INLINE void linear_quant(const u32 bits, const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[8]), c_row = a[4], blocks = blocks_of(a[6]), accumulate = a[7];
  u32 panels = (a[5] + PANEL - 1) / PANEL, panel_bytes = blocks * (bits == 8 ? BYTES_I8 : BYTES_I4);
  u32 first = share(panels, w->thread, w->control->threads), end = share(panels, w->thread + 1, w->control->threads);
  for (u32 p = first; p < end; p++) {
    const u8 *weights = (const u8 *)a[1] + p * panel_bytes;
    const f32 *bias = a[2] ? floats(a[2]) + p * PANEL : 0;
    for (u32 row = 0; row < rows; row += GROUP) {
      const u8 *x = (const u8 *)a[0] + row * blocks * BYTES_X;
      f32 *c = floats(a[3]) + row * c_row + p * PANEL;
      u32 count = min_u32(GROUP, rows - row);
      for (u32 i = 0; i < count; i++)
        for (u32 n = 0; n < PANEL; n += 4) {
          v128_t start = accumulate ? LD(c + i * c_row + n) : SPLAT(0);
          ST(c + i * c_row + n, bias ? ADD(start, LD(bias + n)) : start);
        }
      switch (count) {
      case 1: tile_quant(bits, 1, 4, blocks, x, weights, 0, c, c_row); break;
      case 2:
        for (u32 half = 0; half < PANEL; half += 8) tile_quant(bits, 2, 2, blocks, x, weights, half, c + half, c_row);
        break;
      case 3:
        for (u32 half = 0; half < PANEL; half += 8) tile_quant(bits, 3, 2, blocks, x, weights, half, c + half, c_row);
        break;
      default:
        for (u32 half = 0; half < PANEL; half += 8) tile_quant(bits, 4, 2, blocks, x, weights, half, c + half, c_row);
      }
    }
  }
}

// C[rows, N] (+)= X W^T + bias. a: x (packed), W, bias or 0, C, floats between rows of C, N, K, accumulate, selected rows only.
// Rows of C and the bias reach to the end of N's last panel. Threads share the panels.
void linear_i8(const Worker *w, const u32 *a) { linear_quant(8, w, a); }
void linear_i4(const Worker *w, const u32 *a) { linear_quant(4, w, a); }

// Row-major activations to quantised groups. a: from, floats between its rows, to, K, selected.
void pack_quant(const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[4]), step = a[1], K = a[3], blocks = blocks_of(K);
  for (u32 row = w->thread * GROUP; row < rows; row += w->control->threads * GROUP) {
    u32 count = min_u32(GROUP, rows - row);
    for (u32 i = 0; i < count; i++) {
      const f32 *from = floats(a[0]) + (row + i) * step;
      u8 *to = (u8 *)a[2] + row * blocks * BYTES_X;
      for (u32 block = 0; block < blocks; block++, from += BLOCK_K, to += count * BYTES_X) {
        v128_t x[STEPS], most = SPLAT(0), total = wasm_i32x4_splat(0);
        for (u32 k = 0; k < STEPS; k++) {
          u32 at = block * BLOCK_K + 4 * k;
          // Rows are padded to whole panels, with what may be anything.
          x[k] = at >= K ? SPLAT(0) : LD(from + 4 * k);
          if (at < K && at + 4 > K)
            x[k] = wasm_v128_and(x[k], wasm_i32x4_lt(wasm_i32x4_make(0, 1, 2, 3), wasm_i32x4_splat((i32)(K - at))));
          most = wasm_f32x4_max(most, wasm_f32x4_abs(x[k]));
        }
        f32 peak = lanes_max(most);
        v128_t inverse = SPLAT(peak > 0 ? 127 / peak : 0);
        for (u32 k = 0; k < STEPS; k++) {
          v128_t q = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(MUL(x[k], inverse)));
          total = wasm_i32x4_add(total, q);
          v128_t narrow = wasm_i16x8_narrow_i32x4(q, q);
          wasm_v128_store32_lane(to + 8 * count + (k * count + i) * 4, wasm_i8x16_narrow_i16x8(narrow, narrow), 0);
        }
        i32 sum = wasm_i32x4_extract_lane(total, 0) + wasm_i32x4_extract_lane(total, 1) +
                  wasm_i32x4_extract_lane(total, 2) + wasm_i32x4_extract_lane(total, 3);
        ((f32 *)to)[i] = peak / 127;
        ((i32 *)to)[count + i] = sum;
      }
    }
  }
}

INLINE const u8 *block_of(const u32 bits, u32 table, u32 row, u32 block, u32 blocks) {
  return (const u8 *)table + (row / PANEL * blocks + block) * (bits == 8 ? BYTES_I8 : BYTES_I4);
}

// Scale n of a block; behind the 16 scales of int4 come its 16 least weights.
INLINE f32 scale_of(const u8 *block, u32 n) { return as_f32((u32)((const u16 *)block)[n] << 16); }

INLINE void embed_quant(const u32 bits, const Worker *w, const u32 *a) {
  u32 width = a[2], blocks = blocks_of(width);
  const u32 *ids = (const u32 *)w->control->ids;
  for (u32 row = w->thread; row < w->control->rows; row += w->control->threads) {
    f32 *to = floats(a[0]) + row * padded(width);
    u32 n = ids[row] % PANEL;
    for (u32 k = 0; k < width; k++) {
      const u8 *block = block_of(bits, a[1], ids[row], k / BLOCK_K, blocks);
      u32 in = k % BLOCK_K;
      const u8 *q = block + HEAD(bits);
      to[k] = bits == 8 ? (f32)(q[(in / 4 * PANEL + n) * 4 + in % 4] - 64) * scale_of(block, n)
                        : (f32)(q[(in % 16 / 4 * PANEL + n) * 4 + in % 4] >> in / 16 * 4 & 15) * scale_of(block, n) +
                              scale_of(block, PANEL + n);
    }
  }
}

// Rows of a panelled table by token. a: to (rows padded to whole panels), table, width.
void embed_i8(const Worker *w, const u32 *a) { embed_quant(8, w, a); }
void embed_i4(const Worker *w, const u32 *a) { embed_quant(4, w, a); }

INLINE u16 bf16_of(f32 x) {
  union { f32 f; u32 u; } bits = {x};
  return (u16)((bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16);
}

INLINE f32 rounded_bf16(f32 x) { return as_f32((u32)bf16_of(x) << 16); }

// x[32] is about least + q scale, q = 0 .. most. Both are bf16.
typedef struct { f32 scale, least; } Line;

INLINE v128_t steps_of(v128_t x, Line line, f32 most) {
  v128_t q = MUL(SUB(x, SPLAT(line.least)), SPLAT(line.scale != 0 ? 1 / line.scale : 0));
  return wasm_f32x4_max(SPLAT(0), wasm_f32x4_min(SPLAT(most), wasm_f32x4_nearest(q)));
}

INLINE f32 squares(const f32 *x, Line line, f32 most) {
  v128_t sum = SPLAT(0);
  for (u32 k = 0; k < BLOCK_K; k += 4) {
    v128_t off = SUB(SUB(LD(x + k), SPLAT(line.least)), MUL(steps_of(LD(x + k), line, most), SPLAT(line.scale)));
    sum = ADD(sum, MUL(off, off));
  }
  return lanes_sum(sum);
}

// The line of least squares through x over the steps that `from` gives it.
INLINE Line fit(const f32 *x, Line from, f32 most) {
  v128_t q1 = SPLAT(0), q2 = SPLAT(0), x1 = SPLAT(0), xq = SPLAT(0);
  for (u32 k = 0; k < BLOCK_K; k += 4) {
    v128_t q = steps_of(LD(x + k), from, most);
    q1 = ADD(q1, q), q2 = ADD(q2, MUL(q, q)), x1 = ADD(x1, LD(x + k)), xq = ADD(xq, MUL(q, LD(x + k)));
  }
  f32 n = BLOCK_K, sq = lanes_sum(q1), sqq = lanes_sum(q2), sx = lanes_sum(x1), sxq = lanes_sum(xq), det = n * sqq - sq * sq;
  if (det <= 0) return from;
  return (Line){rounded_bf16((n * sxq - sq * sx) / det), rounded_bf16((sqq * sx - sq * sxq) / det)};
}

// The line of 16 steps that loses least of x among a few around the one from its least to its largest.
INLINE Line best_line(const f32 *x) {
  v128_t lows = LD(x), highs = LD(x);
  for (u32 k = 4; k < BLOCK_K; k += 4) lows = wasm_f32x4_min(lows, LD(x + k)), highs = wasm_f32x4_max(highs, LD(x + k));
  f32 low = -lanes_max(wasm_f32x4_neg(lows)), high = lanes_max(highs), error = __builtin_inff();
  Line best = {0, rounded_bf16(low)};
  for (u32 i = 0; i < 9; i++) {
    Line line = fit(x, (Line){(high - low) / (13.5f + 0.25f * (f32)i), low}, 15);
    f32 now = squares(x, line, 15);
    if (now < error) error = now, best = line;
  }
  return best;
}

// 127 steps around zero that reach as far as x does.
INLINE Line even_line(const f32 *x) {
  v128_t most = SPLAT(0);
  for (u32 k = 0; k < BLOCK_K; k += 4) most = wasm_f32x4_max(most, wasm_f32x4_abs(LD(x + k)));
  return (Line){rounded_bf16(lanes_max(most) / 63), 0};
}

// Writes x, 32 terms of output n, to `block`.
INLINE void quantise(const u32 bits, const f32 *x, Line line, u8 *block, u32 n) {
  v128_t q[STEPS];
  UNROLLED
  for (u32 k = 0; k < STEPS; k++) {
    v128_t whole = bits == 4 ? steps_of(LD(x + 4 * k), line, 15)
                             : wasm_f32x4_nearest(MUL(LD(x + 4 * k), SPLAT(line.scale != 0 ? 1 / line.scale : 0)));
    if (bits == 8) whole = ADD(wasm_f32x4_max(SPLAT(-63), wasm_f32x4_min(SPLAT(63), whole)), SPLAT(64));
    q[k] = wasm_i32x4_trunc_sat_f32x4(whole);
  }
  UNROLLED
  for (u32 k = 0; k < (bits == 8 ? STEPS : STEPS / 2); k++) {
    v128_t all = bits == 8 ? q[k] : wasm_v128_or(q[k], wasm_i32x4_shl(q[k + STEPS / 2], 4));
    v128_t narrow = wasm_i16x8_narrow_i32x4(all, all);
    wasm_v128_store32_lane(block + HEAD(bits) + (k * PANEL + n) * 4, wasm_u8x16_narrow_i16x8(narrow, narrow), 0);
  }
}

INLINE void panel_quant(const u32 bits, const f32 *from, u32 rows, u32 K, u8 *to) {
  for (u32 k = 0; k < K; k += BLOCK_K, to += bits == 8 ? BYTES_I8 : BYTES_I4)
    for (u32 n = 0; n < PANEL; n++) {
      f32 edge[BLOCK_K];
      const f32 *x = from + n * K + k;
      if (n >= rows || k + BLOCK_K > K) {
        for (u32 i = 0; i < BLOCK_K; i++) edge[i] = n < rows && k + i < K ? x[i] : 0;
        x = edge;
      }
      Line line = bits == 8 ? even_line(x) : best_line(x);
      ((u16 *)to)[n] = bf16_of(line.scale);
      if (bits == 4) ((u16 *)to)[PANEL + n] = bf16_of(line.least);
      quantise(bits, x, line, to, n);
    }
}

// One panel from `rows` <= 16 row-major f32 rows; what is missing becomes zeros.
EXPORT void panel_i8(const f32 *from, u32 rows, u32 K, u8 *to) { panel_quant(8, from, rows, K, to); }
EXPORT void panel_i4(const f32 *from, u32 rows, u32 K, u8 *to) { panel_quant(4, from, rows, K, to); }
