// Owns when training rests so that people need not wait: while somebody has work, but for a slice now and then. Pure.

/** While others have work all the time, training gets the last SLICE_MS of each PERIOD_MS: it is late, but never starves. */
const PERIOD_MS = 5_000;
const SLICE_MS = 250;
/** Who had an answer may ask again right away: training goes on only after such a pause. */
const PAUSE_MS = 250;

export class Background {
  private busySince: number | undefined;
  private lastBusy = Number.NEGATIVE_INFINITY;

  /** Whether training is to be held now. `busy`: some sequence waits or runs. */
  hold(busy: boolean, now: number): boolean {
    if (busy) this.lastBusy = now;
    if (now - this.lastBusy >= PAUSE_MS) {
      this.busySince = undefined;
      return false;
    }
    this.busySince ??= now;
    return (now - this.busySince) % PERIOD_MS < PERIOD_MS - SLICE_MS;
  }
}
