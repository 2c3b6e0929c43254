// Owns what a caller may choose of a training: names, limits, defaults; and the plain spec that the device gets.
import { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Syscall } from "../../kernel/abi/syscall.ts";
import type { Entry } from "../../kernel/abi/syscalls.ts";

export type TrainInput = z.output<Extract<Entry<"model.train">, Syscall>["input"]>;

const count = z.number().int().nonnegative();
const positive = z.number().int().positive();

const hyper = z.strictObject({
  optimizer: z.enum(["adamw", "adam", "sgd"]).optional(),
  /** Peak learning rate. */
  lr: z.number().positive().optional(),
  schedule: z.enum(["cosine", "constant"]).optional(),
  /** What cosine falls to, as a share of the peak. */
  floor: z.number().min(0).max(1).optional(),
  /** Steps of linear rise. */
  warmup: count.optional(),
  steps: positive.max(10_000_000).optional(),
  /** Instead of steps. */
  epochs: z.number().positive().max(1_000_000).optional(),
  /** Examples per step. */
  batch: positive.max(65_536).optional(),
  /** Rows of random data. */
  examples: positive.max(1_000_000).optional(),
  /** Largest norm of the gradient; 0: no clipping. */
  clip: z.number().nonnegative().optional(),
  weightDecay: z.number().nonnegative().optional(),
  beta1: z.number().min(0).lt(1).optional(),
  beta2: z.number().min(0).lt(1).optional(),
  epsilon: z.number().positive().optional(),
  momentum: z.number().min(0).lt(1).optional(),
  /** Steps between validations, which are checkpoints as well. */
  evaluateEvery: count.optional(),
  /** Stop after so many validations without a better loss; 0: never. */
  patience: count.optional(),
});
export type Hyper = z.output<typeof hyper>;

/** EINVAL names the hyperparameter that is wrong or unknown. */
export function readHyper(input: Record<string, unknown>): Hyper {
  const parsed = hyper.safeParse(input);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const known = Object.keys(hyper.shape).join(", ");
    throw new SomaError(
      "EINVAL",
      `${["hyper", ...(issue?.path ?? [])].join(".")}: ${issue?.message}; known are ${known}`,
    );
  }
  if (parsed.data.steps !== undefined && parsed.data.epochs !== undefined) {
    throw new SomaError("EINVAL", "hyper: give steps or epochs, not both");
  }
  return parsed.data;
}

export interface SpecInput {
  architecture: string;
  /** As the device's architecture wants it. */
  config: Record<string, unknown>;
  hyper: Hyper;
  /** Used where `hyper` says nothing. */
  defaults: Hyper & { batch: number };
  /** Examples in the training split. */
  examples: number;
  seed: number;
}

/** The device's training spec: plain data, all choices made, so that a checkpoint means the same run. */
export function trainingSpec({
  architecture,
  config,
  hyper,
  defaults,
  examples,
  seed,
}: SpecInput): Record<string, unknown> {
  if (examples === 0) throw new SomaError("EINVAL", "there is nothing to train on: give at least one example");
  // Steps and epochs exclude each other: the caller's choice of one hides the default of the other.
  const length = hyper.steps !== undefined || hyper.epochs !== undefined ? hyper : defaults;
  const { epochs: _e, steps: _s, examples: _x, ...rest } = { ...defaults, ...hyper };
  const batch = Math.min(rest.batch, examples);
  const steps = length.steps ?? Math.max(1, Math.ceil(((length.epochs ?? 1) * examples) / batch));
  return {
    architecture,
    config,
    ...rest,
    batch,
    steps,
    warmup: Math.min(rest.warmup ?? 0, Math.floor(steps / 4)),
    seed,
  };
}
