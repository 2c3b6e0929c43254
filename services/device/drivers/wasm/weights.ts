// Fills a model's memory from a source of weights (services/device/weights/source.ts says how to add a format), a panel of
// rows at a time: the file never lies in the JavaScript heap. f32 in; the layout's dtype out.
import { SomaError } from "../../../../kernel/abi/errors.ts";
import type { Kernels } from "../../kernels/load.ts";
import type { WeightSource } from "../../weights/source.ts";
import { type Layout, type Matrix, panel, panelBytes } from "./layout.ts";
import type { Shape } from "./shape.ts";

/** Fills all weights of `layout`. EINVAL names the tensor that is missing, has another shape or numbers that are not finite. */
export function readWeights(
  source: WeightSource,
  shape: Shape,
  layout: Layout,
  kernels: Kernels,
  memory: WebAssembly.Memory,
): void {
  const { call } = kernels;
  const find = (name: string, expected: number[]): string => {
    // Bare decoders were saved without the prefix.
    const found = [name, name.replace(/^model\./, "")].find((one) => source.shape(one));
    if (found === undefined)
      throw new SomaError("EINVAL", `the weights have no tensor ${name}; fetch or export them again`);
    if (source.shape(found)!.join() !== expected.join())
      throw new SomaError("EINVAL", `${name} is [${source.shape(found)}], config.json says [${expected}]`);
    return found;
  };
  const read = (name: string, from: number, to: number, address: number, count: number) => {
    source.read(name, from, to, new Float32Array(memory.buffer, address, count));
    if (!call.all_finite!(address, count))
      throw new SomaError("EINVAL", `${name} has numbers that are not finite; fetch or export the weights again`);
  };
  const vector = (name: string, length: number, to: number) => {
    if (to !== 0) read(find(name, [length]), 0, length, to, length);
  };
  const gain = (name: string, length: number, to: number) => {
    vector(name, length, to);
    if (!shape.gemma || to === 0) return;
    const gains = new Float32Array(memory.buffer, to, length);
    for (let i = 0; i < length; i++) gains[i]! += 1;
  };
  const pack = { f32: call.panel_f32!, int8: call.panel_i8!, int4: call.panel_i4! };
  const matrix = (name: string, { dtype, at, rows, columns }: Matrix) => {
    const found = find(name, [rows, columns]);
    for (let row = 0; row < rows; row += panel) {
      const count = Math.min(panel, rows - row);
      read(found, row, row + count, layout.scratch, count * columns);
      pack[dtype](layout.scratch, count, columns, at + (row / panel) * panelBytes(dtype, columns));
    }
  };

  matrix("model.embed_tokens.weight", layout.embedding);
  gain("model.norm.weight", shape.width, layout.finalNorm);
  if (layout.head !== layout.embedding) matrix("lm_head.weight", layout.head);
  layout.layers.forEach((layer, index) => {
    const name = (part: string) => `model.layers.${index}.${part}`;
    const [afterAttention, mlp] = shape.gemma
      ? [layer.attentionOutNorm, "pre_feedforward_layernorm"]
      : [0, "post_attention_layernorm"];
    gain(name("input_layernorm.weight"), shape.width, layer.attentionNorm);
    gain(name("post_attention_layernorm.weight"), shape.width, afterAttention);
    gain(name(`${mlp}.weight`), shape.width, layer.mlpNorm);
    gain(name("post_feedforward_layernorm.weight"), shape.width, layer.mlpOutNorm);
    gain(name("self_attn.q_norm.weight"), shape.headWidth, layer.qNorm);
    gain(name("self_attn.k_norm.weight"), shape.headWidth, layer.kNorm);
    for (const part of ["q", "k", "v", "o", "gate", "up", "down"] as const) {
      const where = name(`${"qkvo".includes(part) ? "self_attn" : "mlp"}.${part}_proj`);
      matrix(`${where}.weight`, layer[part]);
      vector(`${where}.bias`, layer[part].rows, layer.bias[part]);
    }
  });
}

/** Angles of all positions, as cosines and sines. */
export function writeRotation(shape: Shape, layout: Layout, memory: WebAssembly.Memory): void {
  const half = shape.headWidth / 2;
  shape.rotations.forEach((frequencies, which) => {
    const at = layout.rotations[which]!;
    const cosines = new Float32Array(memory.buffer, at.cosines, layout.context * half);
    const sines = new Float32Array(memory.buffer, at.sines, layout.context * half);
    for (let i = 0; i < cosines.length; i++) {
      const angle = Math.floor(i / half) * frequencies[i % half]!;
      cosines[i] = Math.cos(angle);
      sines[i] = Math.sin(angle);
    }
  });
}
