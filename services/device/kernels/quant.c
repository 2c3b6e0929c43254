// Owns int8 weights: one scale a row, panels of [K / 2][PANEL][2] so that a 16-bit dot product finishes two terms of four
// outputs at once. Activations are 16-bit with one scale a token: as wide as the 32-bit sum allows, at no cost over 8 bits.
// Sums of integers are exact, so their order does not matter.
#include "infer.h"

// acc[R][V] += X W over `pairs` pairs of k. x: [pairs][R][2] i16; w: [pairs][PANEL][2] i8.
INLINE void product_i8(const u32 R, const u32 V, u32 pairs, const i16 *x, const i8 *w, v128_t *acc) {
  for (u32 k = 0; k < pairs; k++, x += 2 * R, w += 2 * PANEL) {
    v128_t b[4];
#pragma clang loop unroll(full)
    for (u32 v = 0; v < V; v++) b[v] = wasm_i16x8_load8x8(w + 8 * v);
#pragma clang loop unroll(full)
    for (u32 i = 0; i < R; i++) {
      v128_t a = wasm_v128_load32_splat(x + 2 * i);
#pragma clang loop unroll(full)
      for (u32 v = 0; v < V; v++) acc[i * V + v] = wasm_i32x4_add(acc[i * V + v], wasm_i32x4_dot_i16x8(a, b[v]));
    }
  }
}

INLINE void tile_i8(const u32 R, const u32 V, u32 pairs, const i16 *x, const f32 *x_scale, const i8 *w, const f32 *w_scale,
                    f32 *c, u32 c_row, const f32 *bias, u32 accumulate) {
  v128_t acc[8];
#pragma clang loop unroll(full)
  for (u32 i = 0; i < R * V; i++) acc[i] = wasm_i32x4_splat(0);
  product_i8(R, V, pairs, x, w, acc);
#pragma clang loop unroll(full)
  for (u32 i = 0; i < R; i++) {
#pragma clang loop unroll(full)
    for (u32 v = 0; v < V; v++) {
      f32 *to = c + i * c_row + 4 * v;
      v128_t sum = MUL(wasm_f32x4_convert_i32x4(acc[i * V + v]), MUL(SPLAT(x_scale[i]), LD(w_scale + 4 * v)));
      if (bias) sum = ADD(sum, LD(bias + 4 * v));
      if (accumulate) sum = ADD(sum, LD(to));
      ST(to, sum);
    }
  }
}

// The same arguments as linear_f32.
void linear_i8(const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[10]), c_row = a[6], pairs = (a[8] + 1) / 2, accumulate = a[9];
  u32 panels = (a[7] + PANEL - 1) / PANEL;
  u32 first = share(panels, w->thread, w->control->threads), end = share(panels, w->thread + 1, w->control->threads);
  for (u32 p = first; p < end; p++) {
    const i8 *weights = (const i8 *)a[2] + p * PANEL * 2 * pairs;
    const f32 *scales = floats(a[3]) + p * PANEL, *bias = a[4] ? floats(a[4]) + p * PANEL : 0;
    for (u32 row = 0; row < rows; row += GROUP) {
      const i16 *x = (const i16 *)a[0] + row * 2 * pairs;
      const f32 *x_scale = floats(a[1]) + row;
      f32 *c = floats(a[5]) + row * c_row + p * PANEL;
      switch (min_u32(GROUP, rows - row)) {
      case 1: tile_i8(1, 4, pairs, x, x_scale, weights, scales, c, c_row, bias, accumulate); break;
      case 2: tile_i8(2, 4, pairs, x, x_scale, weights, scales, c, c_row, bias, accumulate); break;
      case 3:
        for (u32 half = 0; half < PANEL; half += 8)
          tile_i8(3, 2, pairs, x, x_scale, weights + 2 * half, scales + half, c + half, c_row, bias ? bias + half : 0,
                  accumulate);
        break;
      default:
        for (u32 half = 0; half < PANEL; half += 8)
          tile_i8(4, 2, pairs, x, x_scale, weights + 2 * half, scales + half, c + half, c_row, bias ? bias + half : 0,
                  accumulate);
      }
    }
  }
}

// The largest activation whose sum over K terms with weights of up to 127 fits 32 bits.
INLINE f32 largest(u32 K) {
  u32 most = 0x7fffffffu / (127 * K);
  return (f32)min_u32(most, 32767);
}

INLINE f32 largest_magnitude(const f32 *x, u32 K) {
  f32 most = 0;
  for (u32 k = 0; k < K; k++) most = __builtin_wasm_max_f32(most, __builtin_fabsf(x[k]));
  return most;
}

// Row-major activations to quantised groups, [K / 2][rows][2], and a scale a row. The same arguments as pack_f32.
void pack_i16(const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[5]), step = a[1], K = a[4], even = (K + 1) & ~1u;
  for (u32 row = w->thread * GROUP; row < rows; row += w->control->threads * GROUP) {
    u32 count = min_u32(GROUP, rows - row);
    i16 *to = (i16 *)a[2] + row * even;
    for (u32 i = 0; i < count; i++) {
      const f32 *from = floats(a[0]) + (row + i) * step;
      f32 most = largest_magnitude(from, K), range = largest(K), inverse = most > 0 ? range / most : 0;
      floats(a[3])[row + i] = most / range;
      for (u32 k = 0; k < even; k++)
        to[(k / 2 * count + i) * 2 + k % 2] = k < K ? (i16)__builtin_rintf(from[k] * inverse) : 0;
    }
  }
}

// The same arguments as embed_f32.
void embed_i8(const Worker *w, const u32 *a) {
  u32 width = a[3], even = (width + 1) & ~1u;
  const u32 *ids = (const u32 *)w->control->ids;
  for (u32 row = w->thread; row < w->control->rows; row += w->control->threads) {
    const i8 *from = (const i8 *)a[1] + ids[row] / PANEL * PANEL * even + ids[row] % PANEL * 2;
    f32 scale = floats(a[2])[ids[row]], *to = floats(a[0]) + row * padded(width);
    for (u32 k = 0; k < width; k++) to[k] = (f32)from[k / 2 * 2 * PANEL + k % 2] * scale;
  }
}

// One int8 panel and its 16 scales from `rows` <= 16 row-major f32 rows; missing rows become zeros.
EXPORT void panel_i8(const f32 *from, u32 rows, u32 K, i8 *to, f32 *scales) {
  u32 even = (K + 1) & ~1u;
  for (u32 n = 0; n < PANEL; n++) {
    f32 most = n < rows ? largest_magnitude(from + n * K, K) : 0, inverse = most > 0 ? 127 / most : 0;
    scales[n] = most / 127;
    for (u32 k = 0; k < even; k++)
      to[(k / 2 * PANEL + n) * 2 + k % 2] = n < rows && k < K ? (i8)__builtin_rintf(from[n * K + k] * inverse) : 0;
  }
}
