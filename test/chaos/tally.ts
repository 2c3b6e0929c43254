// Owns requests that are counted by how they ended: what was done, what was turned away and after how long, what came late.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Client } from "../../kernel/ipc/client.ts";

export const TOKENS = 32;
/** Within which a request wants its answer, ms. */
export const TTL = 3_000;

export class Tally {
  asked = 0;
  /** Of requests that were done between `from` and `until`; those of others are nobody's good. */
  tokens = 0;
  /** ms until each EBUSY. */
  readonly rejected: number[] = [];
  /** The most by which an outcome was later than its deadline, ms; negative if all were earlier. */
  late = Number.NEGATIVE_INFINITY;
  readonly codes = new Map<string, number>();

  /** Times as of performance.now(); requests go to `instance`, or to any. */
  constructor(
    private readonly from: number,
    private readonly until: number,
    private readonly instance?: string,
  ) {}

  /** Asks for a text; ms after which to ask again if it was turned away, 0 otherwise. */
  async ask(client: Client, seed: number): Promise<number> {
    const asked = performance.now();
    this.asked += 1;
    let wait = 0;
    try {
      const sample = { temperature: 1, seed: seed + 1 };
      const input = { model: "fox", prompt: "the quick", maxTokens: TOKENS, sample };
      const to = this.instance === undefined ? {} : { instance: this.instance };
      const { usage } = await client.stream("model.generate", input, { ttl: TTL, ...to }).result;
      const now = performance.now();
      if (now >= this.from && now < this.until) this.tokens += usage.newTokens;
      this.note("ok");
    } catch (error) {
      if (!(error instanceof SomaError)) throw error;
      this.note(error.code);
      if (error.code === "EBUSY") this.rejected.push(performance.now() - asked);
      wait = error.retryAfterMs ?? 0;
    }
    this.late = Math.max(this.late, performance.now() - asked - TTL);
    return wait;
  }

  /** Asks so often a second for so long, whatever comes of it; resolves once each has its outcome. */
  async flood(clients: readonly Client[], rate: number, ms: number): Promise<void> {
    const began = performance.now();
    const all: Promise<unknown>[] = [];
    for (let sent = 0; performance.now() - began < ms; await new Promise((resolve) => setTimeout(resolve, 5)))
      for (; sent < ((performance.now() - began) / 1_000) * rate; sent++)
        all.push(this.ask(clients[sent % clients.length]!, sent));
    await Promise.all(all);
  }

  private note(code: string): void {
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
  }
}
