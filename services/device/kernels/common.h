// What every kernel shares: types, SIMD shorthand, exp and log. No static data and no libc: the module lives inside
// somebody else's memory, at addresses that the caller passes in.
#pragma once
#include <wasm_simd128.h>

typedef float f32;
typedef double f64;
typedef unsigned char u8;
typedef signed char i8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

#define LD(p) wasm_v128_load(p)
#define ST(p, v) wasm_v128_store(p, v)
#define SPLAT(x) wasm_f32x4_splat(x)
#define ADD wasm_f32x4_add
#define SUB wasm_f32x4_sub
#define MUL wasm_f32x4_mul
#define DIV wasm_f32x4_div

// MADD(a, b, c) = a * b + c. In the relaxed build the host rounds once (FMA) or twice, as its CPU does; the choice is
// the host's and constant while it runs (madd_is_fused tells).
#ifdef __wasm_relaxed_simd__
#define MADD(a, b, c) __builtin_wasm_relaxed_madd_f32x4(a, b, c)
#else
#define MADD(a, b, c) ADD(MUL(a, b), c)
#endif

INLINE u32 min_u32(u32 a, u32 b) { return a < b ? a : b; }

// Sums and maxima over the four lanes, always in this order.
INLINE f32 lanes_sum(v128_t v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
         (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}
INLINE f32 lanes_max(v128_t v) {
  f32 a = __builtin_wasm_max_f32(wasm_f32x4_extract_lane(v, 0), wasm_f32x4_extract_lane(v, 1));
  f32 b = __builtin_wasm_max_f32(wasm_f32x4_extract_lane(v, 2), wasm_f32x4_extract_lane(v, 3));
  return __builtin_wasm_max_f32(a, b);
}

// exp by range reduction and a degree 5 polynomial (Cephes expf), relative error about 2e-7; clamped to [-87, 88], so it
// never returns 0 or infinity. NaN stays NaN: training must see it.
INLINE v128_t exp_f32x4(v128_t x) {
  x = wasm_f32x4_min(SPLAT(88.0f), wasm_f32x4_max(SPLAT(-87.0f), x));
  v128_t n = wasm_f32x4_nearest(MUL(x, SPLAT(1.44269504088896341f)));
  v128_t r = SUB(SUB(x, MUL(n, SPLAT(0.693359375f))), MUL(n, SPLAT(-2.12194440e-4f)));
  v128_t p = SPLAT(1.9875691500e-4f);
  p = ADD(MUL(p, r), SPLAT(1.3981999507e-3f));
  p = ADD(MUL(p, r), SPLAT(8.3334519073e-3f));
  p = ADD(MUL(p, r), SPLAT(4.1665795894e-2f));
  p = ADD(MUL(p, r), SPLAT(1.6666665459e-1f));
  p = ADD(MUL(p, r), SPLAT(5.0000001201e-1f));
  p = ADD(ADD(MUL(p, MUL(r, r)), r), SPLAT(1.0f));
  v128_t power = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
  return MUL(p, power);
}
INLINE f32 exp_f32(f32 x) { return wasm_f32x4_extract_lane(exp_f32x4(SPLAT(x)), 0); }

// Natural logarithm (Cephes logf) of a normal x > 0.
INLINE f32 log_f32(f32 x) {
  union { f32 f; u32 u; } bits = {x};
  i32 exponent = (i32)(bits.u >> 23) - 126;
  bits.u = (bits.u & 0x007fffff) | 0x3f000000;
  f32 m = bits.f;
  if (m < 0.707106781186547524f) {
    exponent -= 1;
    m = m + m - 1.0f;
  } else {
    m = m - 1.0f;
  }
  f32 z = m * m, y = 7.0376836292e-2f;
  y = y * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z + (f32)exponent * -2.12194440e-4f - 0.5f * z;
  return m + y + (f32)exponent * 0.693359375f;
}

// gemm.c: C[M,N] (+)= A[M,K] B[K,N] for any strides; element (i, k) of A is a[i * a_row + k * a_col], alike for B; rows of C
// are c_row floats apart. `scratch` holds gemm_scratch() floats that nobody else uses meanwhile.
void gemm_strided(const f32 *a, u32 a_row, u32 a_col, const f32 *b, u32 b_row, u32 b_col, f32 *c, u32 c_row, u32 M, u32 N,
                  u32 K, u32 accumulate, f32 *scratch);
