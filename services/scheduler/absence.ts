// Owns since when models that somebody waits for are on no device. Pure.

/** A model that no device has for so long is not coming: a device that died is back sooner, and its models with it. */
const PLACE_MS = 30_000;

export class Absence {
  private readonly since = new Map<string, number>();

  /** To be told often; whether whoever waits for the model should give up. */
  hopeless(model: string, there: boolean, now: number): boolean {
    if (there) {
      this.since.delete(model);
      return false;
    }
    const since = this.since.get(model) ?? now;
    this.since.set(model, since);
    return now - since >= PLACE_MS;
  }

  /** Forgets models that nobody waits for any more. */
  keep(wanted: ReadonlySet<string>): void {
    for (const model of this.since.keys()) if (!wanted.has(model)) this.since.delete(model);
  }
}
