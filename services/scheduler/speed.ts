// Owns what quanta were measured to cost: ms for each step and for each row of a step, by least squares with a fading memory.

/** What a quantum leaves of the measurements before it. */
const FADE = 0.95;

export class Speed {
  private readonly sums = { ss: 0, sr: 0, rr: 0, sm: 0, rm: 0 };

  /** A quantum of so many steps, with so many rows in all of them. */
  add(steps: number, rows: number, ms: number): void {
    if (steps <= 0 || rows <= 0 || ms <= 0) return;
    const { sums } = this;
    for (const [key, product] of [
      ["ss", steps * steps],
      ["sr", steps * rows],
      ["rr", rows * rows],
      ["sm", steps * ms],
      ["rm", rows * ms],
    ] as const)
      sums[key] = FADE * sums[key] + product;
  }

  /** ms for so many steps and rows; undefined while nothing was measured. */
  ms(steps: number, rows: number): number | undefined {
    const { ss, sr, rr, sm, rm } = this.sums;
    if (ss === 0) return undefined;
    const determinant = ss * rr - sr * sr;
    // All quanta were alike: a step's cost is not known from its rows'. Rows that come on top count as free, so that nobody is refused wrongly.
    if (determinant < 1e-3 * ss * rr) return (steps * sm) / ss;
    const step = (sm * rr - rm * sr) / determinant;
    const row = (rm * ss - sm * sr) / determinant;
    if (step < 0) return (rows * rm) / rr;
    if (row < 0) return (steps * sm) / ss;
    return steps * step + rows * row;
  }
}
