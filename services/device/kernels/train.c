// Owns the fused kernels of training: each operation of engine/ops.ts forwards and backwards, and the optimisers' updates.
// Rows are tokens. A batch is ragged: example e holds rows starts[e] .. starts[e + 1] - 1, and nothing is padded.
// Elementwise loops are left to the compiler's vectoriser; sums are written out, so that their order is fixed.
#include "common.h"

// Sum of a[i] * b[i], four lanes and then the rest.
INLINE f32 dot(const f32 *a, const f32 *b, u32 n) {
  v128_t sum = SPLAT(0);
  u32 i = 0;
  for (; i + 4 <= n; i += 4) sum = MADD(LD(a + i), LD(b + i), sum);
  f32 total = lanes_sum(sum);
  for (; i < n; i++) total += a[i] * b[i];
  return total;
}

INLINE f32 maximum(const f32 *x, u32 n) {
  f32 top = x[0];
  u32 i = 0;
  if (n >= 4) {
    v128_t tops = LD(x);
    for (i = 4; i + 4 <= n; i += 4) tops = wasm_f32x4_max(tops, LD(x + i));
    top = lanes_max(tops);
  }
  for (; i < n; i++) top = __builtin_wasm_max_f32(top, x[i]);
  return top;
}

// out[i] = exp((x[i] - top) * scale); returns their sum.
INLINE f32 exp_sum(const f32 *x, f32 *out, u32 n, f32 top, f32 scale) {
  v128_t sum = SPLAT(0);
  u32 i = 0;
  for (; i + 4 <= n; i += 4) {
    v128_t e = exp_f32x4(MUL(SUB(LD(x + i), SPLAT(top)), SPLAT(scale)));
    ST(out + i, e);
    sum = ADD(sum, e);
  }
  f32 total = lanes_sum(sum);
  for (; i < n; i++) total += out[i] = exp_f32((x[i] - top) * scale);
  return total;
}

// ---- rows by index

// out[r] = table[ids[r]], rows of `width` floats.
EXPORT void gather_rows(const f32 *restrict table, const i32 *restrict ids, f32 *restrict out, u32 rows, u32 width) {
  for (u32 r = 0; r < rows; r++)
    for (u32 i = 0; i < width; i++) out[r * width + i] = table[ids[r] * width + i];
}

// table[ids[r]] += in[r]
EXPORT void scatter_add_rows(const f32 *restrict in, const i32 *restrict ids, f32 *restrict table, u32 rows, u32 width) {
  for (u32 r = 0; r < rows; r++)
    for (u32 i = 0; i < width; i++) table[ids[r] * width + i] += in[r * width + i];
}

// ---- RMS norm

// out = x / rms(x) * gain; keeps inverse[r] = 1 / rms for the way back.
EXPORT void rms_norm(const f32 *restrict x, const f32 *restrict gain, f32 *restrict out, f32 *restrict inverse, u32 rows,
                     u32 width, f32 eps) {
  for (u32 r = 0; r < rows; r++, x += width, out += width) {
    f32 inv = inverse[r] = 1.0f / __builtin_sqrtf(dot(x, x, width) / (f32)width + eps);
    for (u32 i = 0; i < width; i++) out[i] = x[i] * inv * gain[i];
  }
}

// dx = inv * (dy * gain - x * inv^2 * mean(dy * gain * x)); dgain = sum over rows of dy * x * inv
EXPORT void rms_norm_grad(const f32 *restrict x, const f32 *restrict gain, const f32 *restrict inverse, const f32 *restrict dy,
                          f32 *restrict dx, f32 *restrict dgain, u32 rows, u32 width) {
  for (u32 i = 0; i < width; i++) dgain[i] = 0;
  for (u32 r = 0; r < rows; r++, x += width, dy += width, dx += width) {
    f32 inv = inverse[r];
    for (u32 i = 0; i < width; i++) dx[i] = dy[i] * gain[i];
    f32 along = dot(dx, x, width) * inv * inv * inv / (f32)width;
    for (u32 i = 0; i < width; i++) {
      dgain[i] += dy[i] * x[i] * inv;
      dx[i] = dx[i] * inv - x[i] * along;
    }
  }
}

// ---- rotary positions

// Turns each pair (i, i + half) of a head by the angle of its row's position; `direction` -1 turns back (the gradient).
// cosines, sines: [positions, half]; x, out: [rows, heads, 2 * half]
EXPORT void rope(const f32 *restrict x, const f32 *restrict cosines, const f32 *restrict sines, const i32 *restrict positions,
                 f32 *restrict out, u32 rows, u32 heads, u32 half, f32 direction) {
  for (u32 r = 0; r < rows; r++) {
    const f32 *c = cosines + positions[r] * half, *s = sines + positions[r] * half;
    for (u32 h = 0; h < heads; h++, x += 2 * half, out += 2 * half)
      for (u32 i = 0; i < half; i++) {
        f32 sine = s[i] * direction;
        out[i] = x[i] * c[i] - x[i + half] * sine;
        out[i + half] = x[i + half] * c[i] + x[i] * sine;
      }
  }
}

// ---- causal attention inside each example; query head h reads key/value head h / (heads / kv_heads)

// q, out: [rows, heads, width]; k, v: [rows, kv_heads, width]; weights: per example and head one [T, T] after the other.
EXPORT void attention(const f32 *q, const f32 *k, const f32 *v, f32 *out, f32 *weights, const i32 *starts, u32 examples,
                      u32 heads, u32 kv_heads, u32 width, f32 scale, f32 *scratch) {
  u32 q_row = heads * width, kv_row = kv_heads * width, group = heads / kv_heads;
  for (u32 e = 0; e < examples; e++) {
    u32 first = starts[e], T = starts[e + 1] - first;
    for (u32 h = 0; h < heads; h++, weights += T * T) {
      u32 at = first * q_row + h * width, kv_at = first * kv_row + h / group * width;
      gemm_strided(q + at, q_row, 1, k + kv_at, 1, kv_row, weights, T, T, T, width, 0, scratch);
      for (u32 t = 0; t < T; t++) {
        f32 *row = weights + t * T;
        u32 seen = t + 1;
        f32 inverse = 1.0f / exp_sum(row, row, seen, maximum(row, seen), scale);
        for (u32 i = 0; i < seen; i++) row[i] *= inverse;
        for (u32 i = seen; i < T; i++) row[i] = 0;
      }
      gemm_strided(weights, T, 1, v + kv_at, kv_row, 1, out + at, q_row, T, width, T, 0, scratch);
    }
  }
}

// `scores` is room for one [T, T] of the longest example.
EXPORT void attention_grad(const f32 *q, const f32 *k, const f32 *v, const f32 *weights, const f32 *dout, f32 *dq, f32 *dk,
                           f32 *dv, const i32 *starts, u32 examples, u32 heads, u32 kv_heads, u32 width, f32 scale,
                           f32 *scores, f32 *scratch) {
  u32 q_row = heads * width, kv_row = kv_heads * width, group = heads / kv_heads;
  for (u32 e = 0; e < examples; e++) {
    u32 first = starts[e], T = starts[e + 1] - first;
    for (u32 h = 0; h < heads; h++, weights += T * T) {
      u32 at = first * q_row + h * width, kv_at = first * kv_row + h / group * width, again = h % group != 0;
      gemm_strided(weights, 1, T, dout + at, q_row, 1, dv + kv_at, kv_row, T, width, T, again, scratch);
      gemm_strided(dout + at, q_row, 1, v + kv_at, 1, kv_row, scores, T, T, T, width, 0, scratch);
      for (u32 t = 0; t < T; t++) {
        const f32 *p = weights + t * T;
        f32 *d = scores + t * T, mean = dot(p, d, t + 1);
        for (u32 i = 0; i <= t; i++) d[i] = p[i] * (d[i] - mean) * scale;
        for (u32 i = t + 1; i < T; i++) d[i] = 0;
      }
      gemm_strided(scores, T, 1, k + kv_at, kv_row, 1, dq + at, q_row, T, width, T, 0, scratch);
      gemm_strided(scores, 1, T, q + at, q_row, 1, dk + kv_at, kv_row, T, width, T, again, scratch);
    }
  }
}

// ---- SwiGLU: silu(gate) * up

INLINE v128_t sigmoid_f32x4(v128_t x) { return DIV(SPLAT(1.0f), ADD(SPLAT(1.0f), exp_f32x4(wasm_f32x4_neg(x)))); }

EXPORT void swiglu(const f32 *gate, const f32 *up, f32 *out, u32 n) {
  u32 i = 0;
  for (; i + 4 <= n; i += 4) ST(out + i, MUL(MUL(LD(gate + i), sigmoid_f32x4(LD(gate + i))), LD(up + i)));
  for (; i < n; i++) out[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}

EXPORT void swiglu_grad(const f32 *gate, const f32 *up, const f32 *dy, f32 *dgate, f32 *dup, u32 n) {
  u32 i = 0;
  for (; i + 4 <= n; i += 4) {
    v128_t g = LD(gate + i), d = LD(dy + i), s = sigmoid_f32x4(g);
    ST(dup + i, MUL(d, MUL(g, s)));
    ST(dgate + i, MUL(MUL(d, LD(up + i)), MUL(s, ADD(SPLAT(1.0f), MUL(g, SUB(SPLAT(1.0f), s))))));
  }
  for (; i < n; i++) {
    f32 s = 1.0f / (1.0f + exp_f32(-gate[i]));
    dup[i] = dy[i] * (gate[i] * s);
    dgate[i] = dy[i] * up[i] * (s * (1.0f + gate[i] * (1.0f - s)));
  }
}

// ---- losses: return scale * sum and leave its gradient

// Softmax cross-entropy; a row with a negative label counts nothing. dlogits = scale * (softmax - one_hot).
EXPORT f32 cross_entropy(const f32 *logits, const i32 *labels, f32 *dlogits, u32 rows, u32 classes, f32 scale) {
  f64 loss = 0;
  for (u32 r = 0; r < rows; r++, logits += classes, dlogits += classes) {
    if (labels[r] < 0) {
      for (u32 i = 0; i < classes; i++) dlogits[i] = 0;
      continue;
    }
    f32 top = maximum(logits, classes), sum = exp_sum(logits, dlogits, classes, top, 1.0f), factor = scale / sum;
    for (u32 i = 0; i < classes; i++) dlogits[i] *= factor;
    dlogits[labels[r]] -= scale;
    loss += (f64)(log_f32(sum) + top - logits[labels[r]]);
  }
  return (f32)(loss * scale);
}

// dy = 2 * scale * (y - target)
EXPORT f32 squared_error(const f32 *y, const f32 *target, f32 *dy, u32 n, f32 scale) {
  f64 loss = 0;
  for (u32 i = 0; i < n; i++) {
    f32 off = y[i] - target[i];
    loss += (f64)off * off;
    dy[i] = 2.0f * scale * off;
  }
  return (f32)(loss * scale);
}

// ---- parameter updates, in place

// Sum of squares in f64: the global gradient norm is the root of the sum of these.
EXPORT f64 sum_of_squares(const f32 *x, u32 n) {
  f64 sums[4] = {0, 0, 0, 0};
  u32 i = 0;
  for (; i + 4 <= n; i += 4)
    for (u32 h = 0; h < 4; h++) sums[h] += (f64)x[i + h] * x[i + h];
  for (; i < n; i++) sums[0] += (f64)x[i] * x[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// into[i] += x[i]
EXPORT void accumulate(const f32 *restrict x, f32 *restrict into, u32 n) {
  for (u32 i = 0; i < n; i++) into[i] += x[i];
}

// One step of Adam. g = gradient * clip + l2 * w; w shrinks by the factor `keep` (AdamW's decoupled decay: 1 - lr * decay) and
// moves by rate * m / (sqrt(v * inverse_v) + eps), where rate = lr / (1 - b1^t) and inverse_v = 1 / (1 - b2^t).
EXPORT void adam(f32 *restrict w, const f32 *restrict gradient, f32 *restrict m, f32 *restrict v, u32 n, f32 rate, f32 b1, f32 b2,
                 f32 eps, f32 inverse_v, f32 keep, f32 l2, f32 clip) {
  f32 rest1 = 1.0f - b1, rest2 = 1.0f - b2;
  for (u32 i = 0; i < n; i++) {
    f32 g = gradient[i] * clip + l2 * w[i];
    m[i] = m[i] * b1 + g * rest1;
    v[i] = v[i] * b2 + g * g * rest2;
    w[i] = w[i] * keep - m[i] * rate / (__builtin_sqrtf(v[i] * inverse_v) + eps);
  }
}

// One step of gradient descent with momentum: m = momentum * m + g; w -= lr * m.
EXPORT void sgd(f32 *restrict w, const f32 *restrict gradient, f32 *restrict m, u32 n, f32 lr, f32 momentum, f32 l2, f32 clip) {
  for (u32 i = 0; i < n; i++) {
    m[i] = momentum * m[i] + (gradient[i] * clip + l2 * w[i]);
    w[i] -= lr * m[i];
  }
}
