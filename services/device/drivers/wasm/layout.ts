// Where everything lies in a model's memory: control block, stacks, weights, KV blocks, activations. Addresses are bytes;
// the control block mirrors `Control` in kernels/infer.h.
import { stackBytes } from "../../kernels/load.ts";
import { blockTokens } from "../driver.ts";
import type { Shape } from "./shape.ts";

export type Dtype = "f32" | "int8";

/** Outputs in a weight panel, and rows in a group of activations (kernels/infer.h). */
export const panel = 16;
export const maxThreads = 16;
/** Rows of one forward pass, and how many of them the output layer takes at a time (logits are the widest rows). */
export const maxRows = 128;
export const maxLogitRows = 32;
/** Sequences in one quantum. */
export const maxSequences = 1024;

/** Words of the control block. */
export const control = {
  ...{ threads: 0, rows: 1, selected: 2, ids: 4, positions: 5, tables: 6, selection: 7 },
  ...{ command: 16, program: 17, phase: 32, sleepers: 33, arrived: 48, abort: 49, seen: 64 },
} as const;
const controlBytes = 4 * (64 + maxThreads);

export interface Matrix {
  at: number;
  /** int8: one f32 per row, else 0. */
  scales: number;
  rows: number;
  columns: number;
}

export interface LayerLayout {
  attentionNorm: number;
  mlpNorm: number;
  /** 0 where the family has none, here and for the biases. */
  attentionOutNorm: number;
  mlpOutNorm: number;
  qNorm: number;
  kNorm: number;
  q: Matrix;
  k: Matrix;
  v: Matrix;
  o: Matrix;
  gate: Matrix;
  up: Matrix;
  down: Matrix;
  bias: Record<"q" | "k" | "v" | "o" | "gate" | "up" | "down", number>;
}

export interface Layout {
  dtype: Dtype;
  threads: number;
  blocks: number;
  /** Positions that fit both the model and its KV blocks. */
  context: number;
  stacks: number;
  ids: number;
  positions: number;
  tables: number;
  selection: number;
  /** Block tables of the quantum's sequences, one after another. */
  blockTables: number;
  program: number;
  embedding: Matrix;
  head: Matrix;
  finalNorm: number;
  layers: LayerLayout[];
  kv: number;
  blockBytes: number;
  rotations: { cosines: number; sines: number }[];
  x: number;
  normed: number;
  packed: number;
  packedScales: number;
  q: number;
  k: number;
  v: number;
  attended: number;
  gate: number;
  up: number;
  logits: number;
  logSums: number;
  scores: number;
  /** Floats in one line of attention scores. */
  scoreLine: number;
  /** Free for the loader: everything from here to the end is activations. */
  scratch: number;
  bytes: { weights: number; kv: number; total: number };
}

export const padded = (rows: number): number => Math.ceil(rows / panel) * panel;

/** Lays a model out. Pure; the caller compares `bytes.total` with what a memory holds. */
export function layOut(shape: Shape, dtype: Dtype, blocks: number, threads: number): Layout {
  let end = 0;
  // 64 bytes: no cache line is shared by two buffers.
  const take = (bytes: number): number => {
    const at = Math.ceil(end / 64) * 64;
    end = at + bytes;
    return at;
  };
  const floats = (count: number): number => take(4 * count);
  const matrix = (rows: number, columns: number): Matrix => {
    const even = columns + (columns % 2);
    if (dtype === "f32") return { at: floats(padded(rows) * columns), scales: 0, rows, columns };
    return { at: take(padded(rows) * even), scales: floats(padded(rows)), rows, columns };
  };
  const { width, ffn, heads, kvHeads, headWidth, vocab } = shape;
  const [qWidth, kWidth] = [heads * headWidth, kvHeads * headWidth];
  const context = Math.min(shape.context, blocks * blockTokens);

  take(controlBytes);
  const stacks = take(threads * stackBytes);
  const [ids, positions, tables, selection] = [
    take(4 * maxRows),
    take(4 * maxRows),
    take(4 * maxRows),
    take(4 * maxRows),
  ];
  const blockTables = take(4 * blockTableWords(context));
  const program = take(programBytes(shape.layers));

  const weightsFrom = end;
  const embedding = matrix(vocab, width);
  const head = shape.tied ? embedding : matrix(vocab, width);
  const finalNorm = floats(width);
  const bias = (has: boolean, rows: number): number => (has ? floats(padded(rows)) : 0);
  const layers = Array.from({ length: shape.layers }, (): LayerLayout => {
    const q = matrix(qWidth, width);
    const [k, v] = [matrix(kWidth, width), matrix(kWidth, width)];
    const o = matrix(width, qWidth);
    const [gate, up, down] = [matrix(ffn, width), matrix(ffn, width), matrix(width, ffn)];
    return {
      ...{ q, k, v, o, gate, up, down, attentionNorm: floats(width), mlpNorm: floats(width) },
      attentionOutNorm: shape.gemma ? floats(width) : 0,
      mlpOutNorm: shape.gemma ? floats(width) : 0,
      qNorm: shape.headNorm ? floats(headWidth) : 0,
      kNorm: shape.headNorm ? floats(headWidth) : 0,
      bias: {
        ...{ q: bias(shape.qkvBias, qWidth), k: bias(shape.qkvBias, kWidth), v: bias(shape.qkvBias, kWidth) },
        ...{ o: bias(shape.outBias, width), gate: bias(shape.mlpBias, ffn), up: bias(shape.mlpBias, ffn) },
        down: bias(shape.mlpBias, width),
      },
    };
  });
  const weights = end - weightsFrom;

  const blockBytes = 4 * shape.layers * 2 * kWidth * blockTokens;
  const kv = take(blocks * blockBytes);

  const angles = () => floats((context * headWidth) / 2);
  const rotations = shape.rotations.map(() => ({ cosines: angles(), sines: angles() }));
  const scratch = Math.ceil(end / 64) * 64;
  const widest = Math.max(width, qWidth, ffn);
  const rows = (columns: number): number => floats(maxRows * padded(columns));
  const activations = {
    ...{ x: rows(width), normed: rows(width), packed: rows(widest + 1), packedScales: floats(maxRows) },
    ...{ q: rows(qWidth), k: rows(kWidth), v: rows(kWidth), attended: rows(qWidth), gate: rows(ffn), up: rows(ffn) },
    ...{ logits: floats(maxLogitRows * padded(vocab)), logSums: floats(maxLogitRows) },
  };
  const scoreLine = Math.ceil(context / blockTokens) * blockTokens;
  const scores = floats(threads * 4 * scoreLine);
  // The loader puts a panel here, as in the file and as f32.
  const total = Math.max(end, scratch + 2 * 4 * panel * widest);
  return {
    ...{ dtype, threads, blocks, context, stacks, ids, positions, tables, selection, blockTables, program },
    ...{
      embedding,
      head,
      finalNorm,
      layers,
      kv,
      blockBytes,
      rotations,
      ...activations,
      scores,
      scoreLine,
      scratch,
    },
    bytes: { weights, kv: blocks * blockBytes, total },
  };
}

/** Words for the block tables of one quantum: full tables for all sequences, or 4 MB. */
export const blockTableWords = (context: number): number =>
  Math.min(2 ** 20, maxSequences * Math.ceil(context / blockTokens));

/** An op is 16 words. Per layer 19 of them at most, and few before and after. */
const programBytes = (layers: number): number => 64 * (19 * layers + 32);
