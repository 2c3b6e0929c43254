// Writes a model's forward pass as a program for kernels/infer.c: a list of ops over the addresses of a layout. Which ops in
// which order is what an architecture is; the kernels know nothing of it.
import { type Layout, type Matrix, padded, panel, panelBytes } from "./layout.ts";
import type { Shape } from "./shape.ts";

/** Opcodes of kernels/infer.c. */
export const op = {
  ...{ embed: { f32: 1, int8: 2, int4: 12 }, norm: 3, pack: { f32: 4, int8: 5, int4: 5 } },
  linear: { f32: 6, int8: 7, int4: 13 },
  ...{ place: 8, attend: 9, swiglu: 10, logSumExp: 11, geglu: 20, addNormed: 21, scale: 22 },
} as const;

export const opWords = 16;

/** The output layer is the largest of all: it is led in so many parts. */
const headParts = 4;

/** Addresses of the programs. Those of several parts may be given up between two of them. */
export interface Programs {
  /** All layers, one part each, from ids to the last hidden states (x). */
  body: number[];
  /** Logits of the selected rows, from x. */
  head: number[];
  /** Their log-sum-exps. */
  logSums: number;
  /** The final norm alone, of the selected rows, to `normed`. */
  hidden: number;
}

/** Writes the programs into `memory` at `layout.program`. */
export function writePrograms(shape: Shape, layout: Layout, memory: WebAssembly.Memory): Programs {
  const words = new Uint32Array(memory.buffer);
  const bits = new Uint32Array(1);
  const float = (value: number): number => {
    new Float32Array(bits.buffer)[0] = value;
    return bits[0]!;
  };
  let next = layout.program / 4;
  const end = () => {
    words[next] = 0;
    next += opWords;
  };
  /** `sync` 0: the next op reads nothing that another thread writes in this one. */
  const emit = (code: number, sync: 0 | 1, ...args: number[]) => {
    words.set([code, sync, ...args], next);
    next += opWords;
  };
  const { width, heads, kvHeads, headWidth, ffn, vocab } = shape;
  const { x, normed, packed, q, k, v, attended, gate, up, logits } = layout;
  const epsilon = float(shape.epsilon);

  const norm = (gain: number, selected: 0 | 1) => emit(op.norm, 0, x, gain, normed, width, epsilon, selected);
  // The activations as the matrix wants them that they are for, or several alike.
  const pack = (from: number, { dtype, columns }: Matrix, selected: 0 | 1) =>
    emit(op.pack[dtype], 1, from, padded(columns), packed, columns, selected);
  const linear = (
    matrix: Matrix,
    bias: number,
    to: number,
    sync: 0 | 1,
    accumulate: 0 | 1 = 0,
    selected: 0 | 1 = 0,
  ) => {
    const { dtype, at, rows, columns } = matrix;
    emit(op.linear[dtype], sync, packed, at, bias, to, padded(rows), rows, columns, accumulate, selected);
  };

  const body = [next * 4];
  emit(op.embed[layout.embedding.dtype], 1, x, layout.embedding.at, width);
  if (shape.gemma) emit(op.scale, 1, x, padded(width), width, float(Math.sqrt(width)));
  // What a part of a layer gives is added to x, by Gemma only after a norm.
  const add = (matrix: Matrix, bias: number, gain: number) => {
    linear(matrix, bias, gain ? normed : x, 1, gain ? 0 : 1);
    if (gain) emit(op.addNormed, 0, normed, gain, x, width, epsilon);
  };
  layout.layers.forEach((layer, index) => {
    if (index > 0) body.push(next * 4);
    const { visible, rotation: turn } = shape.attention[index]!;
    norm(layer.attentionNorm, 0);
    pack(normed, layer.q, 0);
    linear(layer.q, layer.bias.q, q, 0);
    linear(layer.k, layer.bias.k, k, 0);
    linear(layer.v, layer.bias.v, v, 1);
    const blocks = [layout.kv, index, shape.layers] as const;
    const { cosines, sines } = layout.rotations[turn]!;
    const rotation = [cosines, sines, layer.qNorm, layer.kNorm, epsilon] as const;
    emit(op.place, 1, q, k, v, heads, kvHeads, headWidth, ...rotation, ...blocks);
    const scores = [layout.scores, layout.scoreLine, visible] as const;
    emit(op.attend, 1, q, attended, heads, kvHeads, headWidth, float(shape.scoreScale), ...blocks, ...scores);
    pack(attended, layer.o, 0);
    add(layer.o, layer.bias.o, layer.attentionOutNorm);
    norm(layer.mlpNorm, 0);
    pack(normed, layer.gate, 0);
    linear(layer.gate, layer.bias.gate, gate, 0);
    linear(layer.up, layer.bias.up, up, 0);
    emit(shape.gemma ? op.geglu : op.swiglu, 1, gate, up, padded(ffn), ffn);
    pack(gate, layer.down, 0);
    add(layer.down, layer.bias.down, layer.mlpOutNorm);
    end();
  });
  const head = [next * 4];
  norm(layout.finalNorm, 1);
  pack(normed, layout.head, 1);
  const { dtype, at, rows, columns } = layout.head;
  const panels = padded(rows) / panel;
  for (let part = 0; part < headParts; part++) {
    const [from, to] = [part, part + 1].map((n) => Math.floor((n * panels) / headParts)) as [number, number];
    if (part > 0) head.push(next * 4);
    // Its logits stand where those of the whole would.
    const [some, line] = [Math.min(to * panel, rows) - from * panel, padded(rows)];
    const weights = at + from * panelBytes(dtype, columns);
    if (to > from) emit(op.linear[dtype], 1, packed, weights, 0, logits + 4 * from * panel, line, some, columns, 0, 1);
    end();
  }
  const logSums = next * 4;
  emit(op.logSumExp, 1, logits, padded(vocab), vocab, layout.logSums);
  end();
  const hidden = next * 4;
  norm(layout.finalNorm, 1);
  end();
  return { body, head, logSums, hidden };
}
