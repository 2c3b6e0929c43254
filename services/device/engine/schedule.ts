// Owns how the learning rate changes over a run.

export interface ScheduleSpec {
  schedule: "constant" | "cosine";
  /** Peak learning rate. */
  lr: number;
  /** Steps of linear rise from lr / warmup to lr. */
  warmup: number;
  steps: number;
  /** What cosine falls to at the last step, as a share of lr. */
  floor: number;
}

/** The learning rate of step `step`, counted from 0. */
export function learningRate({ schedule, lr, warmup, steps, floor }: ScheduleSpec, step: number): number {
  if (step < warmup) return (lr * (step + 1)) / warmup;
  if (schedule === "constant") return lr;
  const done = Math.min(1, (step - warmup) / Math.max(1, steps - 1 - warmup));
  return lr * (floor + ((1 - floor) * (1 + Math.cos(Math.PI * done))) / 2);
}
