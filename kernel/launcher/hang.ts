// Owns noticing that the kernel hangs: it beats, and when it does not it is killed like any service. Pure: time is given.

export const BEAT_MS = 1_000;
/** More than a busy moment, for a false alarm costs a restart of the kernel. */
const SILENCE_MS = 5_000;

export class HangWatch {
  /** Undefined until the first beat: who never beats is not watched. */
  #beatAt: number | undefined;
  #lookedAt: number | undefined;

  /** Another process takes over. */
  reset(): void {
    this.#beatAt = undefined;
  }

  beat(now: number): void {
    this.#beatAt = now;
  }

  /** Whether it hangs; asked each BEAT_MS. What is beyond that is our own lag, in which we may have missed beats. */
  hangs(now: number): boolean {
    const lag = this.#lookedAt === undefined ? 0 : Math.max(0, now - this.#lookedAt - BEAT_MS);
    this.#lookedAt = now;
    if (this.#beatAt === undefined) return false;
    this.#beatAt = Math.min(now, this.#beatAt + lag);
    return now - this.#beatAt >= SILENCE_MS;
  }
}
