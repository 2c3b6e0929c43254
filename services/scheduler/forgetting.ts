// Owns what devices are told to forget: sequences that would hold blocks there for nobody.
import { isSomaError } from "../../kernel/abi/errors.ts";

/** Between attempts to have a device forget a sequence, ms. */
const FORGET_MS = 500;

export interface ForgettingOptions {
  /** Has the device forget it; a SomaError where it did not. */
  drop: (device: string, model: string, seq: string) => Promise<unknown>;
  /** Whether it runs there anew: then it is not to be forgotten. */
  runsOn: (device: string, seq: string) => boolean;
  crash: (error: unknown) => void;
}

export class Forgetting {
  /** What is being told, and whether it is to be told once more: it may have come to the device behind that word. */
  private readonly open = new Map<string, { again: boolean }>();
  private stopped = false;

  constructor(private readonly options: ForgettingOptions) {}

  /**
   * Tells until the device answers, or is gone with all that it had, or has it anew. One word at a time for each sequence:
   * quanta that are lost again and again while the broker is away must not all be made good at once when it is back.
   */
  async forget(device: string, model: string, seq: string): Promise<void> {
    const key = `${device} ${model} ${seq}`;
    const known = this.open.get(key);
    if (known !== undefined) return void (known.again = true);
    const word = { again: true };
    this.open.set(key, word);
    while (word.again && !this.stopped && !this.options.runsOn(device, seq)) {
      word.again = false;
      try {
        await this.options.drop(device, model, seq);
      } catch (error) {
        if (!isSomaError(error)) return this.options.crash(error);
        // Word of it or its answer was lost: until the device knows, the sequence holds blocks for nobody.
        if (error.code !== "EIO" && error.code !== "ETIME") continue;
        word.again = true;
        await new Promise((resolve) => setTimeout(resolve, FORGET_MS));
      }
    }
    this.open.delete(key);
  }

  stop(): void {
    this.stopped = true;
  }
}
