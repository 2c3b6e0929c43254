// Owns the description of a training run: plain data that travels with the job and in every checkpoint.
import { z } from "zod";
import { SomaError } from "../../../kernel/abi/errors.ts";

const count = z.number().int().nonnegative();
const positive = z.number().int().positive();

export const trainSpec = z.strictObject({
  architecture: z.string().default("llama"),
  /** Hugging Face's config.json for llama, {layers, activation, loss} for mlp. */
  config: z.record(z.string(), z.any()),
  optimizer: z.enum(["adamw", "adam", "sgd"]).default("adamw"),
  lr: z.number().positive().default(2e-3),
  schedule: z.enum(["cosine", "constant"]).default("cosine"),
  /** What cosine falls to, as a share of lr. */
  floor: z.number().min(0).max(1).default(0.1),
  warmup: count.default(20),
  steps: positive,
  /** Examples per step, over all workers. */
  batch: positive.default(32),
  /** Largest global gradient norm; 0: no clipping. */
  clip: z.number().nonnegative().default(1),
  weightDecay: z.number().nonnegative().default(0),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  momentum: z.number().min(0).lt(1).default(0),
  seed: z.number().int().min(0).max(0xffffffff).default(1),
  /** Steps between evaluations on the validation split (and checkpoints); 0: only at the end. */
  evaluateEvery: count.default(100),
  /** Stop after so many evaluations without a better validation loss, and keep the best; 0: never. */
  patience: count.default(0),
});

export type TrainSpec = z.infer<typeof trainSpec>;
export type TrainSpecInput = z.input<typeof trainSpec>;

/** Fills in defaults. Throws EINVAL naming the field that is wrong. */
export function parseSpec(input: unknown): TrainSpec {
  const parsed = trainSpec.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SomaError("EINVAL", `training spec: ${issue!.path.join(".") || "the object"}: ${issue!.message}`);
}
