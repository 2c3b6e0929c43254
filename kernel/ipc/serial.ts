// Owns turns: work on the same key runs one after the other, on different keys at once.

export class Serial {
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs `work` after all earlier work on `key`, failed or not. */
  run<R>(key: string, work: () => Promise<R>): Promise<R> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(work, work);
    // Forgotten when nobody queued behind it, so that the map holds running work only.
    const tail: Promise<unknown> = turn
      .catch(() => {})
      .then(() => {
        if (this.tails.get(key) === tail) this.tails.delete(key);
      });
    this.tails.set(key, tail);
    return turn;
  }
}
