// Owns the picture of a loss curve in text. Pure.
import asciichart from "asciichart";

export interface LossPoint {
  step: number;
  loss: number;
  validationLoss?: number | undefined;
}

/** Columns of the curve, and lines. With its axis it is 80 columns wide at most. */
const WIDTH = 66;
const HEIGHT = 10;

/** Losses over steps, and below them what it began and ended with. Empty with less than two points. */
export function lossChart(points: readonly LossPoint[]): string {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || points.length < 2) return "";
  const losses = sampled(
    points.map(({ loss }) => loss),
    WIDTH,
  );
  const validated = points.findLast(({ validationLoss }) => validationLoss !== undefined);
  const validation = validated === undefined ? "" : `, validation ${validated.validationLoss!.toFixed(4)}`;
  const told = `loss ${first.loss.toFixed(4)} at step ${first.step}, ${last.loss.toFixed(4)} at step ${last.step}${validation}`;
  const lines = asciichart.plot(losses, { height: HEIGHT }).split("\n");
  return [...lines.map((line) => line.trimEnd()), told].join("\n");
}

/** Evenly, with the first and the last one. */
function sampled(values: readonly number[], count: number): number[] {
  if (values.length <= count) return [...values];
  return Array.from({ length: count }, (_, i) => values[Math.round((i * (values.length - 1)) / (count - 1))]!);
}
