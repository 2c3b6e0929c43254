// Owns one sequence while its quantum runs: what it has fed and sampled, and when it leaves.

import type { Grammars } from "../../grammar/grammars.ts";
import type { Guide } from "../../grammar/guide.ts";
import { blockTokens, type QuantumSequence, type SequenceReport } from "../driver.ts";
import type { Pending } from "./compose.ts";

export class Sequence implements Pending {
  readonly newIds: number[] = [];
  readonly logprobs: (number | null)[] = [];
  /** Ids that the repetition penalty counts. */
  readonly history: Set<number>;
  readonly allowed: readonly number[] | undefined;
  /** Where a constraint says what may come next. */
  readonly guide: Guide | undefined;
  /** Sum of the final hidden states, in the order of positions. */
  readonly hidden: Float64Array;
  finish: SequenceReport["finish"] = null;
  /** Left before its end: cancelled. */
  gone = false;
  private fed = 0;
  private pooled = 0;

  /** `table` is the address of the block table, `context` the positions of the model, `width` of its hidden states. */
  constructor(
    readonly spec: QuantumSequence,
    readonly table: number,
    private readonly context: number,
    width: number,
    grammars?: Grammars,
  ) {
    this.history = new Set(spec.sample?.history);
    this.allowed = spec.sample?.allowed;
    this.hidden = new Float64Array(spec.embed ? width : 0);
    this.guide = this.open(grammars);
    // A text that goes on elsewhere may be whole already.
    if (this.guide?.complete) this.finish = "stop";
    else this.leaveIfFull();
  }

  /** Tokens in KV, and so the position of the next id. */
  get pos(): number {
    return this.spec.pos + this.fed;
  }

  get waiting(): number {
    return this.finish || this.gone ? 0 : this.spec.ids.length + this.newIds.length - this.fed;
  }

  get room(): number {
    return Math.min(this.spec.blocks.length * blockTokens, this.context) - this.pos;
  }

  /** The i-th id from here on. */
  next(i: number): number {
    const at = this.fed + i;
    return at < this.spec.ids.length ? this.spec.ids[at]! : this.newIds[at - this.spec.ids.length]!;
  }

  /** The given id whose probability the i-th next row tells, if this sequence asks for it. */
  scored(i: number): number | undefined {
    return this.spec.logprobsOf ? this.spec.ids[this.fed + i + 1] : undefined;
  }

  /** Whether the state of the i-th of the next `count` rows belongs to the embedding. */
  pools(i: number, count: number): boolean {
    const { embed, ids } = this.spec;
    if (embed === undefined || this.fed + i >= ids.length) return false;
    return embed === "mean" || (i === count - 1 && this.fed + count === ids.length);
  }

  /** Adds the final hidden state that begins at `at`. */
  pool(states: Float32Array, at: number): void {
    this.pooled += 1;
    for (let d = 0; d < this.hidden.length; d++) this.hidden[d]! += states[at + d]!;
  }

  /** Whether a token is sampled after `count` more ids. */
  samplesAfter(count: number): boolean {
    return this.spec.sample !== null && this.newIds.length < this.spec.maxNew && count === this.waiting;
  }

  /** `count` ids are in KV now. Call before `take`. */
  advance(count: number): void {
    this.fed += count;
    if (this.waiting === 0 && this.spec.sample && this.newIds.length >= this.spec.maxNew) this.finish = "length";
    else this.leaveIfFull();
  }

  /** A token was sampled for position `pos`. */
  take(id: number): void {
    this.newIds.push(id);
    this.history.add(id);
    this.finish = null;
    const stops = this.spec.stopIds.includes(id);
    if (!stops) this.guide?.take(id);
    if (stops || this.guide?.complete) this.finish = "stop";
    else if (this.newIds.length >= this.spec.maxNew) this.finish = this.guide?.ends ? "stop" : "length";
    else this.leaveIfFull();
  }

  report(): SequenceReport {
    const { spec, pos, newIds, finish, fed, pooled } = this;
    const computed = Math.min(fed, spec.ids.length);
    const report: SequenceReport = { seq: spec.seq, pos, newIds, finish };
    if (spec.logprobsOf && fed > 0) report.logprobs = [null, ...this.logprobs].slice(0, computed);
    if (pooled > 0) report.embedding = { mean: Array.from(this.hidden, (sum) => sum / pooled), tokens: pooled };
    return report;
  }

  private open(grammars: Grammars | undefined): Guide | undefined {
    const { sample, ids, maxNew, stopIds } = this.spec;
    if (!sample?.constraint) return undefined;
    return grammars!.guide(sample.constraint, Math.min(maxNew, this.context - this.pos - ids.length), stopIds);
  }

  private leaveIfFull(): void {
    if (this.waiting > 0 && this.room <= 0) this.finish = this.pos >= this.context ? "length" : "blocks";
  }
}
