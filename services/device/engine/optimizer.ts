// Owns the parameter update: which moments an optimiser keeps and how one step uses them.
import type { Tensor, Variable } from "@tensorflow/tfjs-core";
import type { Ops } from "./ops.ts";
import type { TrainSpec } from "./spec.ts";

/** One trainable tensor with its moments, in the order of `moments`. */
export interface Slot {
  weight: Variable;
  moments: Variable[];
}

interface Optimizer {
  moments: readonly string[];
  /** `step` counts from 1; `lr` is this step's rate; `clip` the factor that clipping asks for. */
  update(ops: Ops, slot: Slot, gradient: Tensor, spec: TrainSpec, at: { step: number; lr: number; clip: number }): void;
}

// Gains and biases have one dimension and are not decayed: pulling them to 0 would only undo what normalisation learnt.
const decayOf = (spec: TrainSpec, { weight }: Slot) => (weight.shape.length > 1 ? spec.weightDecay : 0);

const adam = (decoupled: boolean): Optimizer => ({
  moments: ["m", "v"],
  update(ops, slot, gradient, spec, at) {
    const [m, v] = slot.moments as [Variable, Variable];
    const { beta1, beta2, epsilon } = spec;
    const strength = decayOf(spec, slot);
    const [decay, l2] = decoupled ? [strength, 0] : [0, strength];
    ops.adam(slot.weight, gradient, m, v, { ...at, beta1, beta2, epsilon, decay, l2 });
  },
});

export const optimizers: Record<TrainSpec["optimizer"], Optimizer> = {
  adamw: adam(true),
  adam: adam(false),
  sgd: {
    moments: ["m"],
    update(ops, slot, gradient, spec, { lr, clip }) {
      ops.sgd(slot.weight, gradient, slot.moments[0]!, { lr, momentum: spec.momentum, l2: decayOf(spec, slot), clip });
    },
  },
};

/** The factor that brings a gradient of norm `norm` to at most `limit` (0: no limit). */
export function clipFactor(norm: number, limit: number): number {
  return limit > 0 && norm > limit ? limit / norm : 1;
}
