// Owns how long calls take, by what the last ones took, and so when the first of some that run is expected to be over.

interface Running {
  call: string;
  /** ms, as `now` is. */
  startedAt: number;
}

export class Lengths {
  /** By call: ms, smoothed. */
  private readonly usual = new Map<string, number>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** One ended well. */
  ended(call: string, ms: number): void {
    const usual = this.usual.get(call);
    this.usual.set(call, usual === undefined ? ms : 0.8 * usual + 0.2 * ms);
  }

  /** ms until the first of these is over: as long as such calls take, or for one that has outlived that, as long again; undefined for none. */
  first(running: Iterable<Running>): number | undefined {
    let soonest: number | undefined;
    for (const { call, startedAt } of running) {
      const age = this.now() - startedAt;
      const usual = this.usual.get(call) ?? 0;
      soonest = Math.min(soonest ?? Number.POSITIVE_INFINITY, usual > age ? usual - age : age);
    }
    return soonest === undefined ? undefined : Math.max(1, Math.ceil(soonest));
  }
}
