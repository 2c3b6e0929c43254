// Where everything lies in a model's memory: control block, stacks, weights, KV blocks, activations. Addresses are bytes;
// the control block mirrors `Control` in kernels/infer.h.
import { stackBytes } from "../../kernels/load.ts";
import { blockTokens } from "../driver.ts";
import { type Shape, shapeOf } from "./shape.ts";

export type Dtype = "f32" | "int8" | "int4";

/** Outputs in a weight panel (kernels/infer.h). */
export const panel = 16;
/** Bytes of a panel's next 32 terms: 16 bf16 scales and the weights (kernels/quant.c). */
const blockBytesOf = { int8: 2 * panel + 32 * panel, int4: 4 * panel + 16 * panel } as const;
/** Bytes of one row's next 32 activations when they are quantised: scale, sum, one byte each. */
const activationBytes = 40;
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
  dtype: Dtype;
  at: number;
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
  /** Activations in groups of rows, as f32 or quantised. */
  packed: number;
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

/** Bytes of 16 rows of a matrix. */
export const panelBytes = (dtype: Dtype, columns: number): number =>
  dtype === "f32" ? 4 * panel * columns : blockBytesOf[dtype] * Math.ceil(columns / 32);

// 4 bits are too few for the table of tokens, the output layer, values and what comes down from the wide layer: llama.cpp's
// Q4_K_M keeps more bits for the same ones. Gemma 3 270M loses 15 % of perplexity with 4 bits there.
const finer = (dtype: Dtype): Dtype => (dtype === "int4" ? "int8" : dtype);

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
  const matrix = (rows: number, columns: number, as = dtype): Matrix => {
    return { dtype: as, at: take((padded(rows) / panel) * panelBytes(as, columns)), rows, columns };
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
  const embedding = matrix(vocab, width, finer(dtype));
  const head = shape.tied ? embedding : matrix(vocab, width, finer(dtype));
  const finalNorm = floats(width);
  const bias = (has: boolean, rows: number): number => (has ? floats(padded(rows)) : 0);
  const layers = Array.from({ length: shape.layers }, (): LayerLayout => {
    const q = matrix(qWidth, width);
    const [k, v] = [matrix(kWidth, width), matrix(kWidth, width, finer(dtype))];
    const o = matrix(width, qWidth);
    const [gate, up, down] = [matrix(ffn, width), matrix(ffn, width), matrix(width, ffn, finer(dtype))];
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
    ...{ x: rows(width), normed: rows(width) },
    packed: take(maxRows * Math.max(4 * padded(widest), activationBytes * Math.ceil(widest / 32))),
    ...{ q: rows(qWidth), k: rows(kWidth), v: rows(kWidth), attended: rows(qWidth), gate: rows(ffn), up: rows(ffn) },
    ...{ logits: floats(maxLogitRows * padded(vocab)), logSums: floats(maxLogitRows) },
  };
  const scoreLine = Math.ceil(context / blockTokens) * blockTokens;
  const scores = floats(threads * 4 * scoreLine);
  // The loader puts a panel of f32 here.
  const total = Math.max(end, scratch + 4 * panel * widest);
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

/** Bytes of a model's weights in memory. EINVAL names what config.json lacks. */
export const weightBytesOf = (config: Record<string, unknown>, dtype: Dtype): number =>
  layOut(shapeOf(config), dtype, 1, 1).bytes.weights;

/** Words for the block tables of one quantum: full tables for all sequences, or 4 MB. */
export const blockTableWords = (context: number): number =>
  Math.min(2 ** 20, maxSequences * Math.ceil(context / blockTokens));

/** An op is 16 words. Per layer 19 of them at most, its end included, and few before and after. */
const programBytes = (layers: number): number => 64 * (19 * layers + 32);
