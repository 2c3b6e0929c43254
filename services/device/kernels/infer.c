// Owns the forward pass: threads run the same program, a list of ops in shared memory, and meet at barriers. What a model is
// (which ops, in which order) is decided in TypeScript (drivers/wasm/program.ts); this file knows only how to run one.
#include "infer.h"

#ifdef __wasm_atomics__
// About 20 us of looking before a thread sleeps: barriers are that far apart while everybody runs.
#define SPINS 4000

// Waits until *word differs from `old`, first looking, then asleep; wakes each second to see whether the model was aborted.
static void await_change(Control *c, u32 *word, u32 old) {
  for (u32 i = 0; i < SPINS; i++)
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != old) return;
  __atomic_fetch_add(&c->sleepers, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == old) {
    if (__atomic_load_n(&c->abort, __ATOMIC_SEQ_CST)) __builtin_trap();
    __builtin_wasm_memory_atomic_wait32((int *)word, (int)old, 1000000000);
  }
  __atomic_fetch_sub(&c->sleepers, 1, __ATOMIC_SEQ_CST);
}

static void change(Control *c, u32 *word) {
  __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&c->sleepers, __ATOMIC_SEQ_CST)) __builtin_wasm_memory_atomic_notify((int *)word, MAX_THREADS);
}

static void barrier(Control *c) {
  if (c->threads == 1) return;
  u32 phase = __atomic_load_n(&c->phase, __ATOMIC_SEQ_CST);
  if (__atomic_add_fetch(&c->arrived, 1, __ATOMIC_SEQ_CST) < c->threads) {
    await_change(c, &c->phase, phase);
  } else {
    __atomic_store_n(&c->arrived, 0, __ATOMIC_SEQ_CST);
    change(c, &c->phase);
  }
}
#else
// Plain memory has one thread.
static void await_change(Control *c, u32 *word, u32 old) { (void)c, (void)word, (void)old; }
static void change(Control *c, u32 *word) { (void)c, (*word)++; }
static void barrier(Control *c) { (void)c; }
#endif

// to[row] = norm(from[row]). a: from, gain, to, width, epsilon, selected. Rows are padded to whole panels. Threads share the
// groups, as in pack.
static void norm(const Worker *w, const u32 *a) {
  u32 width = a[3], step = padded(width);
  const u32 *selection = (const u32 *)w->control->selection;
  for (u32 row = 0; row < row_count(w, a[5]); row++)
    if (row / GROUP % w->control->threads == w->thread)
      normalise(floats(a[0]) + (a[5] ? selection[row] : row) * step, floats(a[1]), floats(a[2]) + row * step, width,
                as_f32(a[4]));
}

// gate = silu(gate) * up. a: gate, up, floats between rows, columns. Threads share the panels of columns, as in linear.
static void swiglu(const Worker *w, const u32 *a) {
  u32 panels = (a[3] + PANEL - 1) / PANEL, threads = w->control->threads;
  u32 first = share(panels, w->thread, threads) * PANEL, end = share(panels, w->thread + 1, threads) * PANEL;
  for (u32 row = 0; row < w->control->rows; row++) {
    f32 *gate = floats(a[0]) + row * a[2], *up = floats(a[1]) + row * a[2];
    for (u32 i = first; i < end; i += 4) {
      v128_t x = LD(gate + i), one = SPLAT(1);
      ST(gate + i, MUL(DIV(x, ADD(one, exp_f32x4(wasm_f32x4_neg(x)))), LD(up + i)));
    }
  }
}

// gate = gelu(gate) * up, the tanh form: x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)). As swiglu.
static void geglu(const Worker *w, const u32 *a) {
  u32 panels = (a[3] + PANEL - 1) / PANEL, threads = w->control->threads;
  u32 first = share(panels, w->thread, threads) * PANEL, end = share(panels, w->thread + 1, threads) * PANEL;
  for (u32 row = 0; row < w->control->rows; row++) {
    f32 *gate = floats(a[0]) + row * a[2], *up = floats(a[1]) + row * a[2];
    for (u32 i = first; i < end; i += 4) {
      v128_t x = LD(gate + i), one = SPLAT(1), cube = MUL(MUL(x, x), x);
      v128_t u = MUL(ADD(x, MUL(cube, SPLAT(0.044715f))), SPLAT(-1.5957691216057308f));
      ST(gate + i, MUL(DIV(x, ADD(one, exp_f32x4(u))), LD(up + i)));
    }
  }
}

// to[row] += norm(from[row]), which is overwritten. a: from, gain, to, width, epsilon. Threads share the groups, as in norm.
static void add_normed(const Worker *w, const u32 *a) {
  u32 width = a[3], step = padded(width);
  for (u32 row = 0; row < w->control->rows; row++) {
    if (row / GROUP % w->control->threads != w->thread) continue;
    f32 *from = floats(a[0]) + row * step, *to = floats(a[2]) + row * step;
    normalise(from, floats(a[1]), from, width, as_f32(a[4]));
    for (u32 i = 0; i < width; i += 4) ST(to + i, ADD(LD(to + i), LD(from + i)));
  }
}

// rows *= factor. a: rows, floats between them, columns, factor.
static void scale(const Worker *w, const u32 *a) {
  for (u32 row = w->thread; row < w->control->rows; row += w->control->threads) {
    f32 *x = floats(a[0]) + row * a[1];
    for (u32 i = 0; i < a[2]; i += 4) ST(x + i, MUL(LD(x + i), SPLAT(as_f32(a[3]))));
  }
}

// log(sum(exp(row))) of each selected row. a: rows, floats between them, columns, to.
static void log_sum_exp(const Worker *w, const u32 *a) {
  u32 columns = a[2];
  for (u32 row = w->thread; row < w->control->selected; row += w->control->threads) {
    const f32 *x = floats(a[0]) + row * a[1];
    v128_t most = SPLAT(x[0]), sum = SPLAT(0);
    u32 i = 0;
    for (; i + 4 <= columns; i += 4) most = wasm_f32x4_max(most, LD(x + i));
    f32 peak = lanes_max(most);
    for (; i < columns; i++) peak = __builtin_wasm_max_f32(peak, x[i]);
    for (i = 0; i + 4 <= columns; i += 4) sum = ADD(sum, exp_f32x4(SUB(LD(x + i), SPLAT(peak))));
    f32 total = lanes_sum(sum);
    for (; i < columns; i++) total += exp_f32(x[i] - peak);
    floats(a[3])[row] = peak + log_f32(total);
  }
}

static void run(const Worker *w, const Op *op) {
  for (; op->op; op++) {
    switch (op->op) {
    case 1: embed_f32(w, op->a); break;
    case 2: embed_i8(w, op->a); break;
    case 3: norm(w, op->a); break;
    case 4: pack_f32(w, op->a); break;
    case 5: pack_quant(w, op->a); break;
    case 6: linear_f32(w, op->a); break;
    case 7: linear_i8(w, op->a); break;
    case 8: place(w, op->a); break;
    case 9: attend(w, op->a); break;
    case 10: swiglu(w, op->a); break;
    case 11: log_sum_exp(w, op->a); break;
    case 12: embed_i4(w, op->a); break;
    case 13: linear_i4(w, op->a); break;
    case 20: geglu(w, op->a); break;
    case 21: add_normed(w, op->a); break;
    case 22: scale(w, op->a); break;
    default: __builtin_trap();
    }
    if (op->sync) barrier(w->control);
  }
}

// Thread 0: runs one program together with all threads that are in infer_follow; returns when all have finished it.
// Program 0 sends them home and returns when they have seen it.
EXPORT void infer_lead(Control *c, u32 program) {
  Worker w = {c, 0};
  c->program = program;
  change(c, &c->command);
  if (program) run(&w, (const Op *)program);
  barrier(c);
}

// The other threads: run what thread 0 leads until it sends them home. A thread that comes late takes the command that it
// missed: the leader waits for it at the first barrier.
EXPORT void infer_follow(Control *c, u32 thread) {
  Worker w = {c, thread};
  for (;;) {
    await_change(c, &c->command, c->seen[thread]);
    c->seen[thread]++;
    u32 program = c->program;
    if (program) run(&w, (const Op *)program);
    barrier(c);
    if (!program) return;
  }
}
