// Owns since when models that somebody waits for are on no device. Pure.

/** A model that no device has for so long is not coming: a device that died is back sooner, and its models with it. */
const PLACE_MS = 30_000;

export class Absence {
  private readonly since = new Map<string, number>();
  /** ms that absences lasted which somebody waited through, smoothed. */
  private usual: number | undefined;

  /** To be told often; whether whoever waits for the model should give up. */
  hopeless(model: string, there: boolean, now: number): boolean {
    const since = this.since.get(model) ?? now;
    if (there) {
      if (this.since.delete(model))
        this.usual = this.usual === undefined ? now - since : (this.usual + now - since) / 2;
      return false;
    }
    this.since.set(model, since);
    return now - since >= PLACE_MS;
  }

  /** ms until an absent model is expected, for who gave it up: as long as others were away, or where none came back as long again. */
  expected(model: string, now: number): number {
    return Math.ceil(this.usual ?? now - (this.since.get(model) ?? now));
  }

  /** Forgets models that nobody waits for any more. */
  keep(wanted: ReadonlySet<string>): void {
    for (const model of this.since.keys()) if (!wanted.has(model)) this.since.delete(model);
  }
}
