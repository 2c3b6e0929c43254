// What the inference kernels share: the control block, how work is split between threads, and the register-blocked product.
// The addresses and offsets here are mirrored in drivers/wasm/layout.ts.
#pragma once
#include "common.h"

#define MAX_THREADS 16
// Weights lie in panels of PANEL outputs ([K][PANEL], K outermost), activations in groups of GROUP rows ([K][rows]).
#define PANEL 16
#define GROUP 4
// Tokens in a KV block. A block holds all layers: [layer][kv head]{ K: [head_dim][BLOCK], V: [BLOCK][head_dim] }.
#define BLOCK 16

// One per model, at the start of its memory. Words that different threads write lie on different cache lines.
typedef struct {
  u32 threads, rows, selected, pad;
  u32 ids, positions, tables, selection; // addresses: u32 per row: token, position, its block table, row of a logits line
  u32 pad0[8];
  u32 command, program, pad1[14]; // command counts up; program is what to run, 0 = leave
  u32 phase, sleepers, pad2[14];  // phase counts barriers
  u32 arrived, abort, pad3[14];
  u32 seen[MAX_THREADS]; // the last command that each thread took
} Control;

typedef struct {
  Control *control;
  u32 thread;
} Worker;

// One step of a program: 16 words, `op` 0 ends it, `sync` 1 makes all threads wait for each other after it.
typedef struct {
  u32 op, sync, a[14];
} Op;

INLINE u32 padded(u32 columns) { return (columns + PANEL - 1) / PANEL * PANEL; }
INLINE u32 share(u32 total, u32 thread, u32 threads) { return total * thread / threads; }
INLINE f32 as_f32(u32 bits) {
  union { u32 u; f32 f; } word = {bits};
  return word.f;
}
INLINE f32 *floats(u32 address) { return (f32 *)address; }

// acc[R][V] += A[R][K] B[K][4 V]: element (i, k) of A is a[i * a_row + k * a_col], row k of B begins at b + k * b_row.
// Every element is summed in the order of k, one term at a time: that is what makes results independent of R, V and of how K
// is cut. R and V must be literals, R * V <= 8, so that all of acc stays in registers.
INLINE void product(const u32 R, const u32 V, u32 K, const f32 *a, u32 a_row, u32 a_col, const f32 *b, u32 b_row,
                    v128_t *acc) {
  for (u32 k = 0; k < K; k++, a += a_col, b += b_row) {
    v128_t w[4];
#pragma clang loop unroll(full)
    for (u32 v = 0; v < V; v++) w[v] = LD(b + 4 * v);
#pragma clang loop unroll(full)
    for (u32 i = 0; i < R; i++) {
      v128_t x = wasm_v128_load32_splat(a + i * a_row);
#pragma clang loop unroll(full)
      for (u32 v = 0; v < V; v++) acc[i * V + v] = MADD(x, w[v], acc[i * V + v]);
    }
  }
}

// to = x * gain / rms(x); `to` may be x.
INLINE void normalise(const f32 *x, const f32 *gain, f32 *to, u32 width, f32 epsilon) {
  v128_t squares = SPLAT(0);
  for (u32 i = 0; i < width; i += 4) {
    v128_t v = LD(x + i);
    squares = MADD(v, v, squares);
  }
  v128_t inverse = SPLAT(1.0f / __builtin_sqrtf(lanes_sum(squares) / (f32)width + epsilon));
  for (u32 i = 0; i < width; i += 4) ST(to + i, MUL(MUL(LD(x + i), inverse), LD(gain + i)));
}

void linear_f32(const Worker *w, const u32 *a);
void linear_i8(const Worker *w, const u32 *a);
void linear_i4(const Worker *w, const u32 *a);
void pack_f32(const Worker *w, const u32 *a);
void pack_quant(const Worker *w, const u32 *a);
void embed_f32(const Worker *w, const u32 *a);
void embed_i8(const Worker *w, const u32 *a);
void embed_i4(const Worker *w, const u32 *a);
void place(const Worker *w, const u32 *a);
void attend(const Worker *w, const u32 *a);

// Rows that an op works on: all of the step, or those that want logits.
INLINE u32 row_count(const Worker *w, u32 selected) { return selected ? w->control->selected : w->control->rows; }
