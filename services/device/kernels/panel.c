// Owns f32 weights in panels: packing them, looking rows up, and the product with activations. The same panel streams from
// memory at batch 1 and feeds a 4 x 8 tile at larger batches.
#include "infer.h"

// Bias (or nothing) and the sum already in C (or nothing) are added to the finished sums of a tile.
INLINE void finish(const u32 R, const u32 V, const v128_t *acc, f32 *c, u32 c_row, const f32 *bias, u32 accumulate) {
#pragma clang loop unroll(full)
  for (u32 i = 0; i < R; i++) {
#pragma clang loop unroll(full)
    for (u32 v = 0; v < V; v++) {
      f32 *to = c + i * c_row + 4 * v;
      v128_t sum = acc[i * V + v];
      if (bias) sum = ADD(sum, LD(bias + 4 * v));
      if (accumulate) sum = ADD(sum, LD(to));
      ST(to, sum);
    }
  }
}

INLINE void tile(const u32 R, const u32 V, u32 K, const f32 *x, const f32 *w, f32 *c, u32 c_row, const f32 *bias,
                 u32 accumulate) {
  v128_t acc[8];
#pragma clang loop unroll(full)
  for (u32 i = 0; i < R * V; i++) acc[i] = SPLAT(0);
  product(R, V, K, x, 1, R, w, PANEL, acc);
  finish(R, V, acc, c, c_row, bias, accumulate);
}

// C[rows, N] (+)= X W^T + bias. a: x (packed), W, bias or 0, C, floats between rows of C, N, K, accumulate, selected rows only.
// Rows of C and the bias reach to the end of N's last panel. Threads share the panels.
void linear_f32(const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[8]), c_row = a[4], K = a[6], accumulate = a[7], panels = (a[5] + PANEL - 1) / PANEL;
  u32 first = share(panels, w->thread, w->control->threads), end = share(panels, w->thread + 1, w->control->threads);
  for (u32 p = first; p < end; p++) {
    const f32 *weights = floats(a[1]) + p * PANEL * K, *bias = a[2] ? floats(a[2]) + p * PANEL : 0;
    for (u32 row = 0; row < rows; row += GROUP) {
      const f32 *x = floats(a[0]) + row * K;
      f32 *c = floats(a[3]) + row * c_row + p * PANEL;
      switch (min_u32(GROUP, rows - row)) {
      case 1: tile(1, 4, K, x, weights, c, c_row, bias, accumulate); break;
      case 2: tile(2, 4, K, x, weights, c, c_row, bias, accumulate); break;
      case 3:
        for (u32 half = 0; half < PANEL; half += 8)
          tile(3, 2, K, x, weights + half, c + half, c_row, bias ? bias + half : 0, accumulate);
        break;
      default:
        for (u32 half = 0; half < PANEL; half += 8)
          tile(4, 2, K, x, weights + half, c + half, c_row, bias ? bias + half : 0, accumulate);
      }
    }
  }
}

// Row-major activations to groups. a: from, floats between its rows, to, K, selected. Threads share the groups.
void pack_f32(const Worker *w, const u32 *a) {
  u32 rows = row_count(w, a[4]), step = a[1], K = a[3];
  for (u32 row = w->thread * GROUP; row < rows; row += w->control->threads * GROUP) {
    u32 count = min_u32(GROUP, rows - row);
    const f32 *from = floats(a[0]) + row * step;
    f32 *to = floats(a[2]) + row * K;
    for (u32 i = 0; i < count; i++)
      for (u32 k = 0; k < K; k++) to[k * count + i] = from[i * step + k];
  }
}

// Rows of a panelled table by token. a: to (rows padded to whole panels), table, width.
void embed_f32(const Worker *w, const u32 *a) {
  u32 width = a[2];
  const u32 *ids = (const u32 *)w->control->ids;
  for (u32 row = w->thread; row < w->control->rows; row += w->control->threads) {
    const f32 *from = floats(a[1]) + ids[row] / PANEL * PANEL * width + ids[row] % PANEL;
    f32 *to = floats(a[0]) + row * padded(width);
    for (u32 k = 0; k < width; k++) to[k] = from[k * PANEL];
  }
}

// 1 if none of `count` numbers is infinite or NaN.
EXPORT u32 all_finite(const u32 *x, u32 count) {
  u32 worst = 0;
  for (u32 i = 0; i < count; i++) worst |= (x[i] & 0x7f800000) == 0x7f800000;
  return !worst;
}

// One panel from `rows` <= 16 row-major weight rows; missing rows become zeros.
EXPORT void panel_f32(const f32 *from, u32 rows, u32 K, f32 *to) {
  for (u32 k = 0; k < K; k++)
    for (u32 n = 0; n < PANEL; n++) to[k * PANEL + n] = n < rows ? from[n * K + k] : 0;
}
