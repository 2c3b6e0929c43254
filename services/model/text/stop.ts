// Owns stop strings: text goes through until one of them is complete; what might still become one waits.
import { SomaError } from "../../../kernel/abi/errors.ts";

/**
 * Generation stops at the first character that completes a stop string; of several that end there the longest counts.
 * The stop string is not part of the text. How the text was cut into pieces changes nothing.
 */
export class StopStrings {
  /** A suffix of what came in that is a proper beginning of some stop string, the longest such. */
  private held = "";
  private readonly stops: readonly string[];

  /** EINVAL for an empty stop string: it would stop everything before it starts. */
  constructor(stops: readonly string[]) {
    if (stops.includes("")) throw new SomaError("EINVAL", "a stop string is empty; leave it out");
    this.stops = stops;
  }

  /** The text that may be shown now, and the stop string if one is complete: then nothing more is to be pushed. */
  push(text: string): { text: string; stop?: string } {
    const buffer = this.held + text;
    let best: { start: number; end: number; stop: string } | undefined;
    for (const stop of this.stops) {
      const start = buffer.indexOf(stop);
      const end = start + stop.length;
      if (start < 0 || (best && (end > best.end || (end === best.end && start >= best.start)))) continue;
      best = { start, end, stop };
    }
    const keep = best ? 0 : this.partial(buffer);
    this.held = buffer.slice(buffer.length - keep);
    return best
      ? { text: buffer.slice(0, best.start), stop: best.stop }
      : { text: buffer.slice(0, buffer.length - keep) };
  }

  /** The end without a stop string: what was held back is text after all. */
  flush(): string {
    const rest = this.held;
    this.held = "";
    return rest;
  }

  /** Length of the longest suffix of `buffer` with which a stop string begins. */
  private partial(buffer: string): number {
    const longest = this.stops.reduce((most, stop) => Math.max(most, stop.length - 1), 0);
    for (let length = Math.min(longest, buffer.length); length > 0; length--) {
      const suffix = buffer.slice(buffer.length - length);
      if (this.stops.some((stop) => stop.startsWith(suffix))) return length;
    }
    return 0;
  }
}
