// Owns the table of architectures. Adding one is adding an entry.
import type { Tensor, Tensor2D } from "@tensorflow/tfjs-core";
import type { ZodType } from "zod";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Batch } from "./batch.ts";
import { llama } from "./llama.ts";
import { mlp } from "./mlp.ts";
import type { Ops, Tf } from "./ops.ts";
import type { Random } from "./random.ts";

/** One weight tensor: Hugging Face's name and layout, and how it begins. */
export interface Parameter {
  name: string;
  shape: number[];
  /** Standard deviation of a normal start, or the constant that every element starts with. */
  start: { normal: number } | { constant: number };
}

/** What `forward` works with: operations, the weights by name, and tensors that only the config determines. */
export interface Model<Config = any> {
  tf: Tf;
  ops: Ops;
  config: Config;
  weight(name: string): any;
  constants: Record<string, Tensor>;
}

/** The size of one worker's largest batch, for the memory estimate. */
export interface BatchSize {
  rows: number;
  /** Rows whose outputs count. */
  outputs: number;
  /** Sum over the examples of rows squared. */
  squares: number;
  /** Rows of the longest example. */
  longest: number;
}

export interface Architecture<Config = any> {
  config: ZodType<Config>;
  /** Which kind of dataset it learns from. */
  data: "tokens" | "vectors";
  parameters(config: Config): Parameter[];
  constants(tf: Tf, config: Config): Record<string, Tensor>;
  /** Logits or values of the rows in `batch.outputs` (of every row if that is absent): [rows, outputs]. */
  forward(model: Model<Config>, batch: Batch): Tensor2D;
  /** Loss and width of the output. */
  loss(config: Config): "crossEntropy" | "squaredError";
  outputs(config: Config): number;
  /** Features (vectors), or vocabulary (tokens), that an input may have; rows that an example may have. */
  limits(config: Config): { inputs: number; rows: number };
  /** Floats that one forward and backward pass keep at once, beyond weights, moments and gradients. */
  activations(config: Config, size: BatchSize): number;
}

export const architectures: Record<string, Architecture> = { llama, mlp };

/** The entry and its checked config. Throws EINVAL naming the field that is wrong. */
export function resolveArchitecture(name: string, config: unknown): { architecture: Architecture; config: any } {
  const architecture = architectures[name];
  if (!architecture) {
    throw new SomaError("EINVAL", `unknown architecture ${name}: use ${Object.keys(architectures).join(" or ")}`);
  }
  const parsed = architecture.config.safeParse(config);
  if (parsed.success) return { architecture, config: parsed.data };
  const [issue] = parsed.error.issues;
  throw new SomaError("EINVAL", `${name} config: ${issue!.path.join(".") || "the object"}: ${issue!.message}`);
}

/** Number of trainable values. */
export function parameterCount(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/** Fresh weights, the same for the same seed. */
export function initialWeights(parameters: readonly Parameter[], random: Random): Map<string, Float32Array> {
  return new Map(
    parameters.map(({ name, shape, start }) => {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      if ("constant" in start) values.fill(start.constant);
      else for (let i = 0; i < values.length; i++) values[i] = random.normal() * start.normal;
      return [name, values];
    }),
  );
}
