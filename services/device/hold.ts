// Owns whether trainings rest: a lease of the scheduler's, for those that run and those that begin meanwhile.

interface Pausable {
  pause(): void;
  resume(): void;
}

export class Hold {
  private readonly trainings = new Set<Pausable>();
  private timer: NodeJS.Timeout | undefined;

  /** Trainings rest for so many ms from now; 0: they go on. A scheduler that died lets them go on by itself. */
  set(ms: number): void {
    const held = this.timer !== undefined;
    clearTimeout(this.timer);
    this.timer = ms > 0 ? setTimeout(() => this.set(0), ms) : undefined;
    if (held === ms > 0) return;
    for (const training of this.trainings) ms > 0 ? training.pause() : training.resume();
  }

  /** Counts a training in. What it returns is to be called when it ends or shall end: it never rests again then. */
  add(training: Pausable): () => void {
    this.trainings.add(training);
    if (this.timer !== undefined) training.pause();
    return () => {
      if (this.trainings.delete(training)) training.resume();
    };
  }
}
