// Owns the estimate of what a run will need, made before anything is asked for: the tensor memory fails without a word.
import { SomaError } from "../../../kernel/abi/errors.ts";
import { parameterCount, resolveArchitecture } from "./architecture.ts";
import { exampleRows, measure } from "./batch.ts";
import { type Dataset, exampleCount, type Split, splits } from "./dataset.ts";
import { sharedBytes } from "./exchange.ts";
import { optimizers } from "./optimizer.ts";
import type { TrainSpec } from "./spec.ts";

/** A WebAssembly memory ends at 4 GB; the rest is left for the allocator's gaps. */
export const heapLimit = 3.6 * 2 ** 30;
// TensorFlow.js, its kernels and our scratch.
const fixed = 24 * 2 ** 20;

export interface Estimate {
  /** Bytes in one worker's tensor memory, at the most. */
  perWorker: number;
  /** Bytes in all workers, and what they share. */
  total: number;
}

/** What training needs at the worst batch: the longest examples together. */
export function estimateMemory(spec: TrainSpec, dataset: Dataset, workers: number): Estimate {
  const { architecture, config } = resolveArchitecture(spec.architecture, spec.config);
  const values = parameterCount(architecture.parameters(config));
  const share = Math.ceil(spec.batch / workers);
  const activations = splits.map((split) => {
    return architecture.activations(config, measure(dataset, split, longest(dataset, split, share)));
  });
  // Weights, gradients and moments.
  const copies = 2 + optimizers[spec.optimizer].moments.length;
  const perWorker = fixed + 4 * (copies * values + Math.max(...activations));
  return { perWorker, total: workers * perWorker + sharedBytes(workers, values) };
}

function longest(dataset: Dataset, split: Split, count: number): number[] {
  const all = Array.from({ length: exampleCount(dataset, split) }, (_, e) => e);
  return all.sort((a, b) => exampleRows(dataset, split, b) - exampleRows(dataset, split, a)).slice(0, count);
}

/** Throws ENOMEM with the figures if the run does not fit one tensor memory or the budget (bytes). */
export function checkMemory(spec: TrainSpec, dataset: Dataset, workers: number, budget: number): Estimate {
  const estimate = estimateMemory(spec, dataset, workers);
  const mb = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MB`;
  const advice = `use a smaller batch than ${spec.batch}, shorter examples or a smaller model`;
  if (estimate.perWorker > heapLimit) {
    const message = `training needs ${mb(estimate.perWorker)} in one worker, which can hold ${mb(heapLimit)}: ${advice}`;
    throw new SomaError("ENOMEM", message);
  }
  if (estimate.total > budget) {
    const fewer = workers > 1 ? `, or fewer workers than ${workers}` : "";
    throw new SomaError("ENOMEM", `training needs ${mb(estimate.total)} of ${mb(budget)}: ${advice}${fewer}`);
  }
  return estimate;
}
