// Owns requests that are counted by how they ended: what was done, what was turned away and after how long, what came late.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Client } from "../../kernel/ipc/client.ts";

export const TOKENS = 32;
/** Within which a request wants its answer, ms. */
export const TTL = 3_000;

/** What is asked for. */
export const question = (seed: number) => ({
  model: "fox",
  prompt: "the quick",
  maxTokens: TOKENS,
  sample: { temperature: 1, seed: seed + 1 },
});

export class Tally {
  asked = 0;
  /** Of requests that were done between `from` and `until`; those of others are nobody's good. */
  tokens = 0;
  /** ms until each EBUSY. */
  readonly rejected: number[] = [];
  /** The most by which an outcome was later than its deadline, ms; negative if all were earlier. */
  late = Number.NEGATIVE_INFINITY;
  readonly codes = new Map<string, number>();

  /** Times as of performance.now(). */
  constructor(
    private readonly from: number,
    private readonly until: number,
  ) {}

  /** Asks for a text: tokens of it that count, and ms after which to ask again, 0 unless it was turned away. */
  async ask(client: Client, seed: number): Promise<{ tokens: number; wait: number }> {
    const asked = performance.now();
    this.asked += 1;
    try {
      const { usage } = await client.stream("model.generate", question(seed), { ttl: TTL }).result;
      return { tokens: this.done(usage.newTokens, asked), wait: 0 };
    } catch (error) {
      if (!(error instanceof SomaError)) throw error;
      this.note(error.code, asked);
      return { tokens: 0, wait: error.retryAfterMs ?? 0 };
    }
  }

  /** One asked for at `asked` has so many tokens; gives those that count. */
  done(tokens: number, asked: number): number {
    const now = performance.now();
    const counted = now >= this.from && now < this.until ? tokens : 0;
    this.tokens += counted;
    this.note("ok", asked);
    return counted;
  }

  note(code: string, asked: number): void {
    const ms = performance.now() - asked;
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
    if (code === "EBUSY") this.rejected.push(ms);
    this.late = Math.max(this.late, ms - TTL);
  }
}
