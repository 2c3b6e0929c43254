// Owns the frame of all text metrics: counts for each segment, summed over a corpus, then one score; and how sure it is.
import { SomaError } from "../../../../kernel/abi/errors.ts";
import { seededRandom } from "../random.ts";

/** `counts` of one segment add up over a corpus; `score` turns the sums into the figure. */
export interface Metric {
  counts(hypothesis: string, reference: string): number[];
  score(sums: readonly number[]): number;
}

/** Counts of each segment; EINVAL unless there are as many hypotheses as references, and at least one. */
export function segmentCounts(
  metric: Metric,
  hypotheses: readonly string[],
  references: readonly string[],
): number[][] {
  if (hypotheses.length !== references.length || hypotheses.length === 0) {
    const message = `${hypotheses.length} outputs and ${references.length} references; give one reference for each output`;
    throw new SomaError("EINVAL", message);
  }
  return hypotheses.map((hypothesis, i) => metric.counts(hypothesis, references[i]!));
}

/** The score of a whole corpus (not the mean of segment scores). */
export function corpusScore(metric: Metric, hypotheses: readonly string[], references: readonly string[]): number {
  return whole(metric.score, segmentCounts(metric, hypotheses, references));
}

/** The score of the sums over all segments. */
export function whole(score: Metric["score"], segments: readonly (readonly number[])[]): number {
  return score(sum(segments));
}

export interface Interval {
  low: number;
  high: number;
}

/**
 * Percentile bootstrap over segments: the middle `confidence` of the scores of `samples` corpora drawn with replacement.
 * Equal seeds give equal intervals.
 */
export function bootstrap(
  score: (sums: readonly number[]) => number,
  segments: readonly (readonly number[])[],
  { seed, samples = 1000, confidence = 0.95 }: { seed: number; samples?: number; confidence?: number },
): Interval {
  const random = seededRandom(seed);
  const scores = Array.from({ length: samples }, () =>
    score(sum(segments.map(() => segments[Math.floor(random() * segments.length)]!))),
  ).sort((a, b) => a - b);
  const at = (quantile: number) => scores[Math.min(samples - 1, Math.floor(quantile * samples))]!;
  return { low: at((1 - confidence) / 2), high: at((1 + confidence) / 2) };
}

function sum(segments: readonly (readonly number[])[]): number[] {
  const sums = new Array<number>(segments[0]?.length ?? 0).fill(0);
  for (const counts of segments) for (let i = 0; i < sums.length; i++) sums[i]! += counts[i]!;
  return sums;
}
