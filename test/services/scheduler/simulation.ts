// Owns a simulated device for tests of the board: it computes one token a step for each sequence, prefill in chunks, on a clock of its own.
import { Board, type Input, type Quantum, type Report } from "../../../services/scheduler/board.ts";

interface Running {
  prompt: number;
  pos: number;
  made: number;
  maxNew: number;
}

export interface Ended {
  id: string;
  at: number;
  newTokens: number;
}

export const input = (prompt: number, maxNew: number, more: Partial<Input> = {}): Input => ({
  model: "m",
  ids: Array.from({ length: prompt }, (_, i) => i),
  mode: "generate",
  sample: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
  maxNew,
  stopIds: [],
  from: 1,
  priority: 0,
  ...more,
});

export class Simulation {
  now = 0;
  readonly board: Board;
  readonly ended: Ended[] = [];
  /** When each sequence got its first token. */
  readonly first = new Map<string, number>();
  /** Tokens computed by principal. */
  readonly computed = new Map<string, number>();
  quanta = 0;
  /** What each step costs beside its rows. */
  stepMs = 5;
  evicted = 0;
  private readonly running = new Map<string, Running>();
  private readonly handed: { device: string; quantum: Quantum }[] = [];

  constructor({ blocks = 10_000, weights = {} as Record<string, number> } = {}) {
    this.board = new Board(
      () => this.now,
      (principal) => weights[principal] ?? 1,
    );
    this.place(1, blocks);
  }

  place(epoch = 1, blocks = 10_000): void {
    const fixed = { model: "m", blocks, blockBytes: 1, context: 4096, numerics: "sim" };
    this.board.place({ device: "device-1", epoch, ...fixed });
  }

  /** The device loses everything. */
  crash(): void {
    this.running.clear();
    this.board.down("device-1");
    for (const { device, quantum } of this.handed.splice(0)) this.board.lost(device, quantum);
  }

  add(
    id: string,
    principal: string,
    prompt: number,
    maxNew: number,
    more: Partial<Input> = {},
    deadline = Infinity,
  ): void {
    const pin = more.device === undefined ? undefined : this.board.slots.resolve(more.device);
    this.board.add(id, principal, `_INBOX.model-1.${id}`, deadline, input(prompt, maxNew, more), pin);
  }

  /** The device puts a sequence aside. */
  aside(id: string): void {
    this.running.delete(id);
    this.evicted += 1;
  }

  /** Hands over what the board wants to run, then computes one quantum. False when there is nothing to do. */
  step(): boolean {
    for (let next = this.board.next(); next !== undefined; next = this.board.next()) {
      for (const seq of next.park) this.running.delete(seq);
      this.evicted += next.park.length;
      this.handed.push(next);
    }
    const one = this.handed.shift();
    if (one === undefined) return false;
    this.quanta += 1;
    for (const { id, output, problem } of this.board.report(one.device, "m", this.compute(one.quantum))) {
      if (problem !== undefined) throw new Error(`${id}: ${problem}`);
      this.ended.push({ id, at: this.now, newTokens: output!.newTokens });
      this.board.remove(id);
    }
    return true;
  }

  private compute({ quantum, seqs, maxSteps, maxMs, tokenBudget }: Quantum): Report {
    const parts = new Map(
      seqs.map(({ seq }) => [seq, { seq, computed: 0, cached: 0, newIds: [] as number[], finish: null as any }]),
    );
    for (const { seq, start } of seqs)
      if (start)
        this.running.set(seq, {
          prompt: start.ids.length,
          pos: 0,
          made: start.generated ?? 0,
          maxNew: start.maxNew,
        });
    let steps = 0;
    let computedTokens = 0;
    const from = this.now;
    while (steps < maxSteps && this.now - from < maxMs) {
      let left = tokenBudget;
      for (const { seq } of seqs) {
        const one = this.running.get(seq);
        if (one === undefined || left === 0) continue;
        const part = parts.get(seq)!;
        const count = Math.min(left, Math.max(1, one.prompt - one.pos));
        left -= count;
        one.pos += count;
        part.computed += count;
        computedTokens += count;
        const principal = this.board.sequences.get(seq)?.principal;
        if (principal !== undefined) this.computed.set(principal, (this.computed.get(principal) ?? 0) + count);
        if (one.pos < one.prompt) continue;
        part.newIds.push(one.made++);
        if (!this.first.has(seq)) this.first.set(seq, this.now);
        if (one.made < one.maxNew) continue;
        part.finish = "length";
        this.running.delete(seq);
      }
      if (left === tokenBudget) break;
      steps += 1;
      this.now += this.stepMs + (tokenBudget - left) / 10;
    }
    for (const { seq } of seqs)
      if (!this.running.has(seq) && parts.get(seq)!.finish === null) parts.get(seq)!.finish = "error";
    return { quantum, ms: this.now - from, steps, computedTokens, seqs: [...parts.values()], freeBlocks: 0 };
  }
}
