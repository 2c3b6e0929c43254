// Owns the multi-layer perceptron: classification by softmax cross-entropy, or regression by mean squared error.
import type { Tensor2D } from "@tensorflow/tfjs-core";
import { z } from "zod";
import type { Architecture } from "./architecture.ts";
import type { Tf } from "./ops.ts";

const activations: Record<string, (tf: Tf, x: Tensor2D) => Tensor2D> = {
  relu: (tf, x) => tf.relu(x),
  tanh: (tf, x) => tf.tanh(x),
  sigmoid: (tf, x) => tf.sigmoid(x),
  silu: (tf, x) => tf.mul(x, tf.sigmoid(x)),
};

export const mlpConfig = z.looseObject({
  model_type: z.literal("mlp").default("mlp"),
  /** Widths from the features to the outputs. */
  layers: z.array(z.number().int().positive()).min(2),
  activation: z.enum(Object.keys(activations) as [string, ...string[]]).default("relu"),
  loss: z.enum(["crossEntropy", "squaredError"]).default("crossEntropy"),
});

export type MlpConfig = z.infer<typeof mlpConfig>;

export const mlp: Architecture<MlpConfig> = {
  config: mlpConfig as any,
  data: "vectors",

  // He initialisation: keeps the size of what passes through rectified layers.
  parameters: ({ layers }) =>
    layers.slice(1).flatMap((out, i) => [
      { name: `layers.${i}.weight`, shape: [out, layers[i]!], start: { normal: Math.sqrt(2 / layers[i]!) } },
      { name: `layers.${i}.bias`, shape: [out], start: { constant: 0 } },
    ]),

  constants: () => ({}),

  forward({ tf, ops, config, weight }, batch) {
    let x = batch.features!;
    const last = config.layers.length - 2;
    for (let i = 0; i <= last; i++) {
      x = ops.linear(x, weight(`layers.${i}.weight`), weight(`layers.${i}.bias`));
      if (i < last) x = activations[config.activation]!(tf, x);
    }
    return x;
  },

  loss: (config) => config.loss,
  outputs: (config) => config.layers.at(-1)!,
  limits: (config) => ({ inputs: config.layers[0]!, rows: 1 }),

  // Product, sum with the bias and activation of each layer, and about as much on the way back.
  activations: ({ layers }, { rows }) => 6 * rows * layers.reduce((a, b) => a + b, 0),
};
