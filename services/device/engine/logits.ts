// Owns the model as a function: the outputs for one text or some vectors, without training.
import type { Tensor } from "@tensorflow/tfjs-core";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { type Model, resolveArchitecture } from "./architecture.ts";
import type { Backend } from "./backend.ts";
import { type Batch, disposeBatch } from "./batch.ts";

/** Weights by name, as `readWeights` gives them. */
export type Weights = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

/** Logits of the token after each of `ids`: [ids.length, vocabulary], row-major. EINVAL if weights or ids do not fit. */
export function logits(backend: Backend, config: unknown, weights: Weights, ids: ArrayLike<number>): Float32Array {
  const { inputs, rows } = limitsOf("llama", config);
  if (ids.length < 1 || ids.length > rows) throw new SomaError("EINVAL", `give 1 to ${rows} ids, not ${ids.length}`);
  const wrong = Array.from(ids).find((id) => !(Number.isInteger(id) && id >= 0 && id < inputs));
  if (wrong !== undefined) throw new SomaError("EINVAL", `id ${wrong} is outside the vocabulary of ${inputs}`);
  const { tf, ops } = backend;
  return outputs(backend, "llama", config, weights, {
    ids: tf.tensor1d(Int32Array.from(ids), "int32"),
    layout: ops.layout(Int32Array.of(0, ids.length)),
  });
}

/** An mlp's outputs (logits or values) for row-major features [n, first layer]: [n, last layer]. */
export function predict(backend: Backend, config: unknown, weights: Weights, features: Float32Array): Float32Array {
  const { inputs } = limitsOf("mlp", config);
  const count = features.length / inputs;
  if (!Number.isInteger(count) || count === 0) {
    throw new SomaError("EINVAL", `${features.length} values are not rows of ${inputs} features`);
  }
  return outputs(backend, "mlp", config, weights, { features: backend.tf.tensor2d(features, [count, inputs]) });
}

function limitsOf(name: string, config: unknown) {
  const resolved = resolveArchitecture(name, config);
  return resolved.architecture.limits(resolved.config);
}

function outputs({ tf, ops }: Backend, name: string, given: unknown, weights: Weights, batch: Batch): Float32Array {
  const { architecture, config } = resolveArchitecture(name, given);
  const tensors = new Map<string, Tensor>();
  const constants = architecture.constants(tf, config);
  try {
    for (const { name, shape } of architecture.parameters(config)) {
      const found = weights.get(name);
      if (found?.shape.join() !== shape.join()) {
        throw new SomaError(
          "EINVAL",
          `weight ${name} ${found ? `has shape [${found.shape}]` : "is missing"}: [${shape}] is needed`,
        );
      }
      tensors.set(name, tf.tensor(found.data, shape, "float32"));
    }
    const model: Model = { tf, ops, config, weight: (name) => tensors.get(name), constants };
    return tf.tidy(() => architecture.forward(model, batch).dataSync() as Float32Array);
  } finally {
    disposeBatch(tf, batch);
    tf.dispose([...tensors.values()]);
    tf.dispose(constants as any);
  }
}
