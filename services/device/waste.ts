// Owns how much computing may be lost to steps that are given up for newcomers: else, with enough of them, no step would ever end.

/** Of the time that is computed. */
const SHARE = 1 / 8;
/** What may be saved up, ms: for newcomers that come together after a while. */
const MOST_MS = 250;

export class Waste {
  private left = MOST_MS;

  /** A quantum of `ms` has ended, `lost` of them in a step that was given up. */
  add(ms: number, lost: number): void {
    this.left = Math.min(MOST_MS, this.left + SHARE * (ms - lost) - lost);
  }

  /** Whether another step may be given up. */
  get allowed(): boolean {
    return this.left > 0;
  }
}
