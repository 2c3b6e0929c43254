// Owns the course of a training run: when to evaluate, when to keep a checkpoint, when to end.
import type { Checkpoint } from "./checkpoint.ts";
import type { Evaluation, StepReport, Trainer } from "./trainer.ts";

export interface Progress {
  step: number;
  steps: number;
  loss: number;
  lr: number;
  gradNorm: number;
  /** Rows computed since this run began or was resumed. */
  tokens: number;
  tokensPerSecond: number;
  etaMs: number;
  validationLoss?: number;
  validationAccuracy?: number;
  note?: string;
}

export type Stopped = "steps" | "patience" | "diverged" | "canceled";

export interface Outcome {
  weights: Map<string, Float32Array>;
  stopped: Stopped;
  last: Progress;
}

export interface Hooks {
  /** Called after each step. `due`: not to be skipped, its step is one of `evaluateEvery`, has a checkpoint, or is the last. */
  progress(progress: Progress, due: boolean): void;
  /** A checkpoint worth keeping; called by one replica of a run. */
  checkpoint(bytes: Uint8Array, step: number): void;
  /** Milliseconds on a clock that never goes back. */
  now(): number;
}

/**
 * Runs to the end: all steps done, no better validation loss for `patience` evaluations (the best weights count), a loss that is
 * no number (the last checkpoint's weights count), or a stop that was asked for (a checkpoint is written first).
 */
export function runTraining(trainer: Trainer, keeps: boolean, hooks: Hooks): Outcome {
  const { spec } = trainer;
  const began = { at: hooks.now(), step: trainer.step };
  let { best } = trainer;
  let good = { step: trainer.step, weights: trainer.values() };
  let tokens = 0;
  let evaluation: Evaluation | undefined;

  const describe = (report: StepReport, note?: string): Progress => {
    const ms = Math.max(1e-3, hooks.now() - began.at);
    const etaMs = (ms / Math.max(1, report.step - began.step)) * (spec.steps - report.step);
    const { step, loss, lr, gradNorm } = report;
    const shown = evaluation && { validationLoss: evaluation.loss };
    const accuracy = evaluation && !Number.isNaN(evaluation.accuracy) && { validationAccuracy: evaluation.accuracy };
    const speed = { tokens, tokensPerSecond: (tokens / ms) * 1000, etaMs };
    return { step, steps: spec.steps, loss, lr, gradNorm, ...speed, ...shown, ...accuracy, ...(note && { note }) };
  };
  const keep = () => {
    good = { step: trainer.step, weights: trainer.values() };
    if (keeps) hooks.checkpoint(trainer.checkpoint(best), trainer.step);
  };

  for (;;) {
    const report = trainer.next();
    if (report.diverged) {
      const note = `loss or gradient is not a number after step ${report.step}: stopped, weights of step ${good.step} kept; try a lower lr`;
      const last = describe(report, note);
      hooks.progress(last, true);
      return { weights: good.weights, stopped: "diverged", last };
    }
    tokens += report.rows;
    const final = report.step >= spec.steps;
    const due = final || (spec.evaluateEvery > 0 && report.step % spec.evaluateEvery === 0);
    let note: string | undefined;
    if (due && trainer.canEvaluate("validation")) {
      evaluation = trainer.evaluate("validation");
      if (spec.patience > 0) [best, note] = compare(best, evaluation, trainer);
    }
    const last = describe(report, note);
    // First the report, so that whoever gets a checkpoint knows the step it was made at.
    const kept = due || report.stop;
    hooks.progress(last, kept);
    if (kept) keep();
    const tired = spec.patience > 0 && best !== undefined && best.since >= spec.patience;
    const stopped = report.stop ? "canceled" : tired ? "patience" : final ? "steps" : undefined;
    if (stopped) return { weights: best?.weights ?? trainer.values(), stopped, last };
  }
}

type Best = Checkpoint["best"];

function compare(best: Best, { loss }: Evaluation, trainer: Trainer): [Best, string?] {
  if (!best || loss < best.loss) return [{ loss, step: trainer.step, since: 0, weights: trainer.values() }];
  const since = best.since + 1;
  return [
    { ...best, since },
    `no better validation loss than ${best.loss.toFixed(4)} of step ${best.step}, ${since} times`,
  ];
}
