// Owns the check that a dataset fits a model: a wrong index would read somebody else's memory in the kernels.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Architecture } from "./architecture.ts";
import { exampleRows } from "./batch.ts";
import { type Dataset, exampleCount, splits } from "./dataset.ts";

const refuse = (message: string): never => {
  throw new SomaError("EINVAL", message);
};

/** Throws EINVAL that names the first example that does not fit. */
export function checkDataset(dataset: Dataset, architecture: Architecture, config: unknown): void {
  if (dataset.kind !== architecture.data) {
    refuse(`the dataset has ${dataset.kind}, this architecture learns from ${architecture.data}`);
  }
  if (exampleCount(dataset, "train") === 0) refuse("the train split is empty: give at least one example");
  const { inputs, rows } = architecture.limits(config);
  const outputs = architecture.outputs(config);
  for (const split of splits) {
    const weights = dataset.splits[split].weights;
    if (weights.length > 0 && !weights.some((weight) => weight > 0)) refuse(`${split}: every example has weight 0`);
    if (dataset.kind === "vectors") checkVectors(dataset, split, inputs, outputs, architecture.loss(config));
    else checkTokens(dataset, split, inputs, rows);
  }
}

type Of<K> = Extract<Dataset, { kind: K }>;

function checkTokens(dataset: Of<"tokens">, split: (typeof splits)[number], vocabulary: number, context: number): void {
  const { ids, starts, prompts, weights } = dataset.splits[split];
  if (starts.length !== weights.length + 1 || prompts.length !== weights.length || starts.at(-1) !== ids.length) {
    refuse(`${split}: starts, prompts, weights and ids disagree about the number of examples`);
  }
  for (let e = 0; e < weights.length; e++) {
    const length = exampleRows(dataset, split, e) + 1;
    if (length < 2) refuse(`${split} example ${e} has ${length} ids: give at least 2`);
    if (length - 1 > context)
      refuse(`${split} example ${e} has ${length} ids: cut it to ${context + 1} (the model's positions)`);
    if (!(prompts[e]! >= 0 && prompts[e]! < length))
      refuse(`${split} example ${e} is all prompt: leave something to learn`);
  }
  const wrong = ids.findIndex((id) => id < 0 || id >= vocabulary);
  if (wrong >= 0) refuse(`${split}: id ${ids[wrong]} at ${wrong} is outside the vocabulary of ${vocabulary}`);
}

function checkVectors(
  dataset: Of<"vectors">,
  split: (typeof splits)[number],
  inputs: number,
  outputs: number,
  loss: "crossEntropy" | "squaredError",
): void {
  const { features, labels, targets, weights } = dataset.splits[split];
  if (dataset.width !== inputs) refuse(`examples have ${dataset.width} features, the first layer takes ${inputs}`);
  if (dataset.outputs !== outputs)
    refuse(`the dataset has ${dataset.outputs} outputs, the last layer gives ${outputs}`);
  if (features.length !== weights.length * inputs) refuse(`${split}: features and weights disagree about the examples`);
  if (weights.length === 0) return;
  if (loss === "crossEntropy") {
    if (labels?.length !== weights.length) return refuse(`${split}: give one label per example for crossEntropy`);
    const wrong = labels.findIndex((label) => label < 0 || label >= outputs);
    if (wrong >= 0) refuse(`${split} example ${wrong} has label ${labels[wrong]}: the classes are 0 to ${outputs - 1}`);
  } else if (labels || targets?.length !== weights.length * outputs) {
    refuse(`${split}: give ${outputs} target values per example for squaredError, and no labels`);
  }
}
