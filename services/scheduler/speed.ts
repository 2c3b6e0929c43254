// Owns how fast a model runs on a device, learned from reports: ms for each step, and for each token computed beyond the first of a step. Pure.

export interface Speed {
  /** Quanta that were learned from. */
  samples: number;
  /** ms of a step with one token. */
  stepMs: number;
  /** ms that each further token of a step adds. */
  tokenMs: number;
}

/** Before anything was measured: a guess that only sets the length of the first quantum. */
export const UNKNOWN: Speed = { samples: 0, stepMs: 10, tokenMs: 1 };

const KEEP = 0.8;

/** Takes a quantum's report in. Quanta of one token a step tell stepMs, those of many tell tokenMs. */
export function learn(
  speed: Speed,
  { ms, steps, computedTokens }: { ms: number; steps: number; computedTokens: number },
): Speed {
  if (steps === 0 || ms <= 0) return speed;
  const perStep = ms / steps;
  const extra = computedTokens / steps - 1;
  const mix = (old: number, value: number) => (speed.samples === 0 ? value : KEEP * old + (1 - KEEP) * value);
  if (extra < 1) return { ...speed, samples: speed.samples + 1, stepMs: mix(speed.stepMs, perStep) };
  // Split by what is known: a step cannot cost less with more tokens in it.
  const stepMs = Math.min(speed.samples === 0 ? perStep / (1 + extra / 8) : speed.stepMs, perStep);
  return { samples: speed.samples + 1, stepMs, tokenMs: mix(speed.tokenMs, Math.max(0, (perStep - stepMs) / extra)) };
}

/** ms for one sequence alone: its prompt in steps of `budget` tokens, then its new tokens one a step. */
export function alone(speed: Speed, prompt: number, fresh: number, budget: number): number {
  const steps = Math.ceil(prompt / budget);
  return steps * speed.stepMs + Math.max(0, prompt - steps) * speed.tokenMs + fresh * speed.stepMs;
}

/** Tokens a second when steps are full. */
export function throughput(speed: Speed, rows: number): number {
  return (1000 * rows) / (speed.stepMs + (rows - 1) * speed.tokenMs);
}
