// Owns the KV blocks: writing keys and values into them (rotated, normalised) and attending over them. A token's result
// depends on its position and on the blocks' contents only, not on what else is in the step.
#include "infer.h"

// Rotates the pairs (i, i + half) of one head by the position's angles, in place (the order of Hugging Face checkpoints).
INLINE void rotate(f32 *x, const f32 *cosines, const f32 *sines, u32 half) {
  for (u32 i = 0; i < half; i += 4) {
    v128_t low = LD(x + i), high = LD(x + half + i), c = LD(cosines + i), s = LD(sines + i);
    ST(x + i, SUB(MUL(low, c), MUL(high, s)));
    ST(x + half + i, ADD(MUL(high, c), MUL(low, s)));
  }
}

// The K part of (block, layer, head); V follows K.
INLINE f32 *keys(u32 pool, u32 block, u32 layer, u32 layers, u32 head, u32 heads, u32 width) {
  return floats(pool) + ((block * layers + layer) * heads + head) * 2 * BLOCK * width;
}

// Rotates q in place; rotates k and writes k and v to the blocks. a: q, k, v, heads, kv heads, head width, cosines, sines,
// q gain or 0, k gain or 0, epsilon, KV pool, layer, layers. Rows of q, k, v are padded to whole panels.
void place(const Worker *w, const u32 *a) {
  u32 heads = a[3], kv_heads = a[4], width = a[5], half = width / 2, parts = heads + kv_heads;
  u32 q_row = padded(heads * width), k_row = padded(kv_heads * width);
  const u32 *positions = (const u32 *)w->control->positions, *tables = (const u32 *)w->control->tables;
  for (u32 i = w->thread; i < w->control->rows * parts; i += w->control->threads) {
    u32 row = i / parts, part = i % parts, position = positions[row];
    const f32 *cosines = floats(a[6]) + position * half, *sines = floats(a[7]) + position * half;
    if (part < heads) {
      f32 *q = floats(a[0]) + row * q_row + part * width;
      if (a[8]) normalise(q, floats(a[8]), q, width, as_f32(a[10]));
      rotate(q, cosines, sines, half);
      continue;
    }
    u32 head = part - heads, slot = position % BLOCK;
    f32 *k = floats(a[1]) + row * k_row + head * width, *v = floats(a[2]) + row * k_row + head * width;
    f32 *to = keys(a[11], ((const u32 *)tables[row])[position / BLOCK], a[12], a[13], head, kv_heads, width);
    if (a[9]) normalise(k, floats(a[9]), k, width, as_f32(a[10]));
    rotate(k, cosines, sines, half);
    for (u32 d = 0; d < width; d++) to[d * BLOCK + slot] = k[d];
    __builtin_memcpy(to + BLOCK * width + slot * width, v, width * sizeof(f32));
  }
}

// What one attention task reads: the query's position and block table, and where the layer's keys lie.
typedef struct {
  const u32 *table;
  u32 pool, layer, layers, head, heads, width, first, end, line;
  f32 scale;
} Span;

INLINE const f32 *keys_of(const Span *s, u32 block) {
  return keys(s->pool, s->table[block], s->layer, s->layers, s->head, s->heads, s->width);
}

// Scores of R query heads (rows of q, `width` apart) with all tokens of the span's blocks, to rows of `scores`.
INLINE void score(const u32 R, const u32 V, const Span *s, const f32 *q, f32 *scores) {
  for (u32 block = s->first / BLOCK; block * BLOCK < s->end; block++) {
    const f32 *k = keys_of(s, block);
    for (u32 t = 0; t < BLOCK; t += 4 * V) {
      v128_t acc[8];
#pragma clang loop unroll(full)
      for (u32 i = 0; i < R * V; i++) acc[i] = SPLAT(0);
      product(R, V, s->width, q, s->width, 1, k + t, BLOCK, acc);
#pragma clang loop unroll(full)
      for (u32 i = 0; i < R * V; i++) ST(scores + i / V * s->line + block * BLOCK + t + i % V * 4, acc[i]);
    }
  }
}

// out[R][width] = P V, block after block, token after token; the tokens outside [first, end) are never read.
INLINE void mix(const u32 R, const u32 V, const Span *s, const f32 *p, f32 *out) {
  for (u32 block = s->first / BLOCK; block * BLOCK < s->end; block++) {
    u32 from = block * BLOCK < s->first ? s->first - block * BLOCK : 0, to = min_u32(BLOCK, s->end - block * BLOCK);
    const f32 *v = keys_of(s, block) + (BLOCK + from) * s->width;
    for (u32 d = 0; d < s->width; d += 4 * V) {
      v128_t acc[8];
#pragma clang loop unroll(full)
      for (u32 i = 0; i < R * V; i++) acc[i] = LD(out + i / V * s->width + d + i % V * 4);
      product(R, V, to - from, p + block * BLOCK + from, s->line, 1, v + d, s->width, acc);
#pragma clang loop unroll(full)
      for (u32 i = 0; i < R * V; i++) ST(out + i / V * s->width + d + i % V * 4, acc[i]);
    }
  }
}

// Turns scores into exp(scale * (score - max)), zeros outside [first, end), and returns their sum. Lane l of the running sum
// takes the tokens 4 i + l, whatever else there is.
static f32 soften(const Span *s, f32 *p) {
  v128_t lanes = wasm_i32x4_make(0, 1, 2, 3), first = wasm_i32x4_splat((i32)s->first), end = wasm_i32x4_splat((i32)s->end);
  v128_t most = SPLAT(-__builtin_inff()), scale = SPLAT(s->scale), sum = SPLAT(0);
  u32 from = s->first & ~3u;
#define INSIDE(t)                                                                                                          \
  wasm_v128_and(wasm_i32x4_ge(wasm_i32x4_add(lanes, wasm_i32x4_splat((i32)(t))), first),                                   \
                wasm_i32x4_lt(wasm_i32x4_add(lanes, wasm_i32x4_splat((i32)(t))), end))
  for (u32 t = from; t < s->end; t += 4)
    most = wasm_f32x4_max(most, wasm_v128_bitselect(LD(p + t), SPLAT(-__builtin_inff()), INSIDE(t)));
  most = SPLAT(lanes_max(most));
  for (u32 t = from; t < s->end; t += 4) {
    v128_t e = wasm_v128_and(exp_f32x4(MUL(SUB(LD(p + t), most), scale)), INSIDE(t));
    ST(p + t, e);
    sum = ADD(sum, e);
  }
#undef INSIDE
  return lanes_sum(sum);
}

INLINE void attend_heads(const u32 R, const u32 V, const Span *s, const f32 *q, f32 *scores, f32 *out) {
  f32 sums[GROUP];
  score(R, V, s, q, scores);
  for (u32 i = 0; i < R; i++) sums[i] = soften(s, scores + i * s->line);
  for (u32 i = 0; i < R * s->width; i += 4) ST(out + i, SPLAT(0));
  mix(R, 2, s, scores, out);
  for (u32 i = 0; i < R; i++)
    for (u32 d = 0; d < s->width; d += 4) {
      f32 *to = out + i * s->width + d;
      ST(to, DIV(LD(to), SPLAT(sums[i])));
    }
}

// Attention of the step's rows over their blocks. a: q, out, heads, kv heads, head width, scale, KV pool, layer, layers,
// scores (4 lines a thread), floats in a line, window (0 = none). Rows of q and out are padded to whole panels. Threads share
// the (row, kv head) pairs; the query heads of a kv head go through together.
void attend(const Worker *w, const u32 *a) {
  u32 heads = a[2], kv_heads = a[3], width = a[4], together = heads / kv_heads, window = a[11];
  u32 row_step = padded(heads * width);
  const u32 *positions = (const u32 *)w->control->positions, *tables = (const u32 *)w->control->tables;
  f32 *scores = floats(a[9]) + w->thread * GROUP * a[10];
  for (u32 i = w->thread; i < w->control->rows * kv_heads; i += w->control->threads) {
    u32 row = i / kv_heads, head = i % kv_heads, end = positions[row] + 1;
    Span s = {(const u32 *)tables[row], a[6], a[7], a[8], head, kv_heads, width, window && end > window ? end - window : 0,
              end, a[10], as_f32(a[5])};
    for (u32 done = 0; done < together; done += GROUP) {
      u32 offset = row * row_step + (head * together + done) * width;
      const f32 *q = floats(a[0]) + offset;
      f32 *out = floats(a[1]) + offset;
      switch (min_u32(GROUP, together - done)) {
      case 1: attend_heads(1, 4, &s, q, scores, out); break;
      case 2: attend_heads(2, 4, &s, q, scores, out); break;
      case 3: attend_heads(3, 2, &s, q, scores, out); break;
      default: attend_heads(4, 2, &s, q, scores, out);
      }
    }
  }
}
