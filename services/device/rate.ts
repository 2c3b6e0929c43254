// Owns a measured speed, smoothed: so much of something per ms.

export class Rate {
  private perMs: number | undefined;

  add(amount: number, ms: number): void {
    if (amount <= 0 || ms <= 0) return;
    const measured = amount / ms;
    this.perMs = this.perMs === undefined ? measured : 0.7 * this.perMs + 0.3 * measured;
  }

  /** ms for so much; undefined while nothing was measured. */
  ms(amount: number): number | undefined {
    return this.perMs === undefined ? undefined : amount / this.perMs;
  }
}
