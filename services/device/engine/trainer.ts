// Owns one replica of a training run: weights, moments, and the place in the data. Runs inside a worker thread.
import type { Scalar, Tensor, Variable } from "@tensorflow/tfjs-core";
import { type Architecture, initialWeights, type Model, type Parameter, resolveArchitecture } from "./architecture.ts";
import type { Backend } from "./backend.ts";
import { type Batch, disposeBatch, exampleRows, makeBatch, measure } from "./batch.ts";
import { checkDataset } from "./check.ts";
import { type Checkpoint, readCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { type Dataset, exampleCount, type Split } from "./dataset.ts";
import { Epochs } from "./epochs.ts";
import { createShared, deal, Exchange } from "./exchange.ts";
import { clipFactor, optimizers, type Slot } from "./optimizer.ts";
import { Random } from "./random.ts";
import { writeSafetensors } from "./safetensors.ts";
import { learningRate } from "./schedule.ts";
import { parseSpec, type TrainSpec } from "./spec.ts";

export interface StepReport {
  /** Steps done, this one included (not, if it diverged). */
  step: number;
  /** Mean over the counted outputs of the whole batch. */
  loss: number;
  gradNorm: number;
  lr: number;
  /** Rows computed, over all workers. */
  rows: number;
  /** Loss or gradient is not finite: nothing was updated. */
  diverged: boolean;
  /** Some worker was asked to stop. */
  stop: boolean;
}

export interface Evaluation {
  loss: number;
  /** Share of outputs whose largest logit is the label; NaN for values. */
  accuracy: number;
  outputs: number;
}

export class Trainer {
  readonly spec: TrainSpec;
  readonly parameters: Parameter[];
  /** What the checkpoint knew of early stopping. */
  readonly best: Checkpoint["best"];
  private readonly architecture: Architecture;
  private readonly model: Model;
  private readonly slots: Slot[];
  private readonly epochs: Epochs;
  private done = 0;

  /**
   * A new run, or a checkpoint's. `exchange` joins it to other replicas that have the same spec, data and checkpoint.
   * Throws EINVAL if the spec, data or checkpoint do not fit each other.
   */
  constructor(
    private readonly backend: Backend,
    spec: unknown,
    private readonly dataset: Dataset,
    checkpoint?: Uint8Array,
    private readonly exchange: Exchange = new Exchange(0, createShared(1, 0)),
  ) {
    this.spec = parseSpec(spec);
    const { architecture, config } = resolveArchitecture(this.spec.architecture, this.spec.config);
    this.architecture = architecture;
    this.parameters = architecture.parameters(config);
    checkDataset(dataset, architecture, config);
    const { moments } = optimizers[this.spec.optimizer];
    const saved = checkpoint && readCheckpoint(checkpoint, this.parameters, moments);
    const { tf, ops } = backend;
    const weights = saved?.weights ?? initialWeights(this.parameters, new Random(this.spec.seed));
    this.slots = this.parameters.map(({ name, shape }) => ({
      weight: this.variable(weights.get(name)!, shape),
      moments: moments.map((moment) => {
        const values = saved ? saved.moments[moment]!.get(name)! : new Float32Array(weights.get(name)!.length);
        return this.variable(values, shape);
      }),
    }));
    const byName = new Map(this.parameters.map(({ name }, i) => [name, this.slots[i]!.weight]));
    this.model = { tf, ops, config, weight: (name) => byName.get(name), constants: architecture.constants(tf, config) };
    this.epochs = new Epochs(dataset.splits.train.weights, saved?.epochs ?? this.spec.seed);
    this.done = saved?.step ?? 0;
    this.best = saved?.best;
  }

  /** Steps done. */
  get step(): number {
    return this.done;
  }

  /** One update on the next batch. */
  next(): StepReport {
    const { spec, dataset, exchange } = this;
    const { tf, ops } = this.backend;
    const stopping = exchange.stopRequested();
    const examples = this.epochs.next(spec.batch);
    const { rows, outputs } = measure(dataset, "train", examples);
    const share = deal(examples, (e) => exampleRows(dataset, "train", e), exchange.rank, exchange.world);
    const own = this.gradients(share, 1 / outputs);
    const summed = this.sum(own.gradients, [own.loss, stopping ? 1 : 0]);
    const [loss, stops] = summed.numbers as [number, number];
    const gradNorm = Math.sqrt(summed.gradients.reduce((sum, gradient) => sum + ops.sumOfSquares(gradient), 0));
    const lr = learningRate(spec, this.done);
    const diverged = !Number.isFinite(loss) || !Number.isFinite(gradNorm);
    if (!diverged) {
      this.done++;
      const at = { step: this.done, lr, clip: clipFactor(gradNorm, spec.clip) };
      for (const [i, slot] of this.slots.entries()) {
        optimizers[spec.optimizer].update(ops, slot, summed.gradients[i]!, spec, at);
      }
    }
    tf.dispose(summed.gradients);
    return { step: this.done, loss, gradNorm, lr, rows, diverged, stop: stops > 0 };
  }

  canEvaluate(split: Split): boolean {
    return exampleCount(this.dataset, split) > 0;
  }

  /** Loss and accuracy on a split that has at least one example; the replicas share the work. */
  evaluate(split: Split): Evaluation {
    const { tf, ops } = this.backend;
    const count = exampleCount(this.dataset, split);
    const all = Array.from({ length: count }, (_, e) => e);
    // Alike lengths together; each replica takes every world-th batch.
    all.sort((a, b) => exampleRows(this.dataset, split, a) - exampleRows(this.dataset, split, b));
    const each = Math.ceil(this.spec.batch / this.exchange.world);
    const sums = [0, 0, 0];
    for (let from = this.exchange.rank * each; from < count; from += each * this.exchange.world) {
      const examples = all.slice(from, from + each);
      const batch = makeBatch(tf, ops, this.dataset, split, examples);
      const [loss, right] = tf.tidy(() => {
        const y = this.architecture.forward(this.model, batch);
        const right = batch.labels
          ? tf.sum(tf.cast(tf.equal(tf.argMax(y, -1), batch.labels), "int32")).dataSync()[0]!
          : Number.NaN;
        return [this.loss(y, batch, 1).dataSync()[0]!, right];
      });
      disposeBatch(tf, batch);
      sums[0]! += loss!;
      sums[1]! += right!;
      sums[2]! += measure(this.dataset, split, examples).outputs;
    }
    const [loss, right, outputs] = this.exchange.sum([], sums).numbers as [number, number, number];
    return { loss: loss / outputs, accuracy: right / outputs, outputs };
  }

  /** Everything that the rest of the run depends on; `best` is what early stopping would return. */
  checkpoint(best?: Checkpoint["best"]): Uint8Array {
    const moments = optimizers[this.spec.optimizer].moments.map((name, i) => {
      return [name, this.read((slot) => slot.moments[i]!)] as const;
    });
    return writeCheckpoint(this.parameters, {
      spec: this.spec,
      step: this.done,
      epochs: this.epochs.state(),
      weights: this.values(),
      moments: Object.fromEntries(moments),
      ...(best && { best }),
    });
  }

  /** A copy of the weights as they are. */
  values(): Map<string, Float32Array> {
    return this.read((slot) => slot.weight);
  }

  /** model.safetensors as transformers expects it, of these weights or the current ones. */
  weights(values = this.values()): Uint8Array {
    const tensors = this.parameters.map(({ name, shape }) => [name, { shape, data: values.get(name)! }] as const);
    return writeSafetensors(tensors, { format: "pt" });
  }

  dispose(): void {
    const { tf } = this.backend;
    tf.dispose(this.slots.flatMap(({ weight, moments }) => [weight, ...moments]));
    tf.dispose(this.model.constants as any);
  }

  // The gradients of scale * (sum of losses) over some examples. A replica may get none: then they are 0.
  private gradients(examples: Int32Array, scale: number): { loss: number; gradients: Tensor[] } {
    const { tf, ops } = this.backend;
    if (examples.length === 0) return { loss: 0, gradients: this.parameters.map(({ shape }) => tf.zeros(shape)) };
    const batch = makeBatch(tf, ops, this.dataset, "train", examples);
    const variables = this.slots.map(({ weight }) => weight);
    const { value, grads } = tf.variableGrads(() => {
      return this.loss(this.architecture.forward(this.model, batch), batch, scale);
    }, variables);
    const loss = value.dataSync()[0]!;
    value.dispose();
    disposeBatch(tf, batch);
    return { loss, gradients: variables.map(({ name }) => grads[name]!) };
  }

  private loss(y: any, batch: Batch, scale: number): Scalar {
    const { ops } = this.backend;
    if (batch.labels) return ops.crossEntropy(y, batch.labels, scale);
    return ops.squaredError(y, batch.targets!, scale);
  }

  private sum(gradients: Tensor[], numbers: number[]): { gradients: Tensor[]; numbers: number[] } {
    if (this.exchange.world === 1) return { gradients, numbers };
    const { ops } = this.backend;
    const summed = this.exchange.sum(gradients.map(ops.read), numbers);
    return {
      gradients: gradients.map((gradient, i) => ops.replace(gradient, summed.parts[i]!)),
      numbers: summed.numbers,
    };
  }

  private variable(values: Float32Array, shape: number[]): Variable {
    const { tf } = this.backend;
    const start = tf.tensor(values, shape, "float32");
    const variable = tf.variable(start);
    start.dispose();
    return variable;
  }

  private read(of: (slot: Slot) => Variable): Map<string, Float32Array> {
    return new Map(this.parameters.map(({ name }, i) => [name, of(this.slots[i]!).dataSync() as Float32Array]));
  }
}
