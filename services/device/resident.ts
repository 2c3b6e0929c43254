// Owns a model that is resident: its driver's handle, its KV, its sequences. Quanta run one at a time; machine.ts sees to that.
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { device, loadedRow, sequenceReport } from "../../kernel/abi/syscalls/device.ts";
import type { Tracer } from "../../kernel/ipc/trace.ts";
import type { LoadedModel, QuantumReport, Token } from "./drivers/driver.ts";
import type { Files } from "./files.ts";
import { Kv } from "./kv.ts";
import type { Outbox } from "./outbox.ts";
import { Parking, type ParkingOptions } from "./parking.ts";
import { Rate } from "./rate.ts";
import { untilFree } from "./room.ts";
import * as sequences from "./sequence.ts";
import { openSequence, type Sequence } from "./sequence.ts";
import { fill, find, save, snapshotName } from "./snapshot.ts";
import { Waste } from "./waste.ts";

type Input = z.output<typeof device.run.input>;
type Output = z.output<typeof device.run.output>;
type Report = z.output<typeof sequenceReport>;

/** Drops that are remembered for quanta under way. */
const REMEMBERED = 4096;
/** Rows a step from which on a quantum counts as prefill. */
const PREFILL_ROWS = 16;

/** Sequences of a quantum, sorted by what becomes of them. */
interface Plan {
  reports: Map<string, Report>;
  run: Sequence[];
  steps: number;
}

export class Resident {
  readonly kv: Kv;
  readonly parking: Parking;
  private readonly files: Files;
  private readonly sequences = new Map<string, Sequence>();
  private running: { quantum: string; seqs: Set<string> } | undefined;
  /** Numbers drops and arrivals of quanta: one that was handed over before a drop must not bring the sequence back. */
  private moment = 0;
  private readonly arrivals = new WeakMap<Input, number>();
  private readonly arrivedAt = new WeakMap<Input, number>();
  /** Of the running quantum: when each sequence had its first token. */
  private readonly firsts = new Map<string, number>();
  private readonly drops = new Map<string, number>();
  private droppedAll = 0;
  /** Quanta that came before this moment end without a step. */
  private clearedAt = 0;
  private readonly waste = new Waste();
  /** Tokens of all sequences together. */
  private readonly pace = new Rate();

  constructor(
    readonly model: string,
    readonly driver: string,
    readonly loaded: LoadedModel,
    aside: Pick<ParkingOptions, "files" | "warn" | "now">,
    private readonly tracer?: Pick<Tracer, "add">,
  ) {
    this.kv = new Kv(loaded.blocks);
    this.files = aside.files;
    this.parking = new Parking({ model, loaded, kv: this.kv, ...aside });
  }

  row(): z.output<typeof loadedRow> {
    const { numerics, bytes, blocks, context, vocab } = this.loaded;
    return {
      model: this.model,
      driver: this.driver,
      numerics,
      weightBytes: bytes.total - bytes.kv,
      kvBytes: bytes.kv,
      blockBytes: bytes.block,
      blocks,
      freeBlocks: this.kv.free,
      context,
      vocab,
      sequences: this.sequences.size,
    };
  }

  /** Runs a quantum and sends its tokens to `outbox` as they come. EINVAL when the quantum is malformed. */
  async run(input: Input, outbox: Outbox): Promise<Output> {
    const { quantum } = input;
    const writing = this.parking.written(input.seqs.flatMap(({ seq, start }) => (start?.parked ? [seq] : [])));
    if (writing) await writing;
    const plan = this.plan(input);
    const from = performance.now();
    const cpu = process.cpuUsage();
    this.firsts.clear();
    let report: QuantumReport | undefined;
    const cleared = (this.arrivals.get(input) ?? this.moment) < this.clearedAt;
    if (plan.run.length > 0 && !cleared) {
      this.running = { quantum, seqs: new Set(plan.run.map(({ id }) => id)) };
      try {
        report = await this.loaded.run(
          {
            id: quantum,
            maxSteps: plan.steps,
            maxMs: input.maxMs,
            tokenBudget: input.tokenBudget,
            seqs: plan.run.map(sequences.feed),
          },
          (tokens) => this.deliver(tokens, outbox),
        );
      } finally {
        this.running = undefined;
      }
      const arrivedAt = this.arrivedAt.get(input) ?? from;
      for (const one of report.seqs) this.trace(one, plan.run.length, arrivedAt, from);
      for (const one of report.seqs) this.take(one, plan.reports);
      this.waste.add(report.ms, report.lostMs);
      this.pace.add(report.computedTokens, report.ms);
      // Steps of many rows tell how fast prefill is; decoding steps of few rows do not.
      if (report.computedTokens >= PREFILL_ROWS * report.steps)
        this.parking.prefill.add(report.computedTokens, report.ms);
      outbox.flush();
    }
    const { user, system } = process.cpuUsage(cpu);
    return {
      quantum,
      ms: report?.ms ?? 0,
      cpuMs: (user + system) / 1_000,
      steps: report?.steps ?? 0,
      computedTokens: report?.computedTokens ?? 0,
      seqs: input.seqs.map(({ seq }) => plan.reports.get(seq)!),
      freeBlocks: this.kv.free,
    };
  }

  /** To be called when a quantum is handed over, which may be long before it runs. */
  arrived(input: Input): void {
    this.arrivals.set(input, ++this.moment);
    this.arrivedAt.set(input, performance.now());
  }

  /**
   * Forgets sequences; or puts them aside until their next quantum here (`park`) or elsewhere (`move`). One that runs leaves at
   * the next step, and its blocks are free when the quantum has ended. Settles when what moves can be read elsewhere.
   */
  async drop(seqs: readonly string[], all: boolean, aside?: "park" | "move"): Promise<void> {
    this.moment += 1;
    if (all) this.droppedAll = this.moment;
    for (const seq of seqs) {
      // Newest last; by the time that so many came after it, its quantum has long run.
      this.drops.delete(seq);
      this.drops.set(seq, this.moment);
    }
    for (const seq of this.drops.keys()) {
      if (this.drops.size <= REMEMBERED) break;
      this.drops.delete(seq);
    }
    this.leave(all ? [...this.sequences.keys()] : seqs, aside ?? "drop");
    if (aside === "move") await this.parking.moveOut(seqs);
    if (aside !== undefined) return;
    if (all) this.parking.forgetAll();
    this.parking.forget(seqs);
  }

  private leave(seqs: readonly string[], leaving: NonNullable<Sequence["leaving"]>): void {
    for (const seq of seqs) {
      const sequence = this.sequences.get(seq);
      if (sequence === undefined) continue;
      sequence.leaving = leaving;
      if (this.running?.seqs.has(seq)) {
        this.loaded.cancel(this.running.quantum, seq);
        // Blocks come back at the end of a quantum: others go on in the next, which is here already.
        if (leaving === "drop") this.interrupt();
      } else this.end(sequence);
    }
  }

  interrupt(): void {
    if (this.running) this.loaded.cancel(this.running.quantum);
  }

  /** Makes way for a quantum that comes now: what runs ends at once, and what was handed over before ends without a step. */
  clear(): void {
    this.clearedAt = ++this.moment;
    if (this.running && this.waste.allowed) this.loaded.abandon(this.running.quantum);
    else this.interrupt();
  }

  /** Writes a sequence that no running quantum names to a file; it stays where it is. ENOENT, EBUSY. */
  async snapshot(seq: string): Promise<{ file: string; bytes: number; position: number }> {
    const sequence = this.sequences.get(seq);
    if (sequence === undefined) throw new SomaError("ENOENT", `${this.model} has no sequence "${seq}"`);
    if (this.running?.seqs.has(seq))
      throw new SomaError("EBUSY", `"${seq}" is in a running quantum: interrupt it first`);
    const position = sequence.pos;
    const bytes = await save(this.loaded, this.model, sequence, this.files);
    return { file: snapshotName(this.model, seq), bytes, position };
  }

  /** Brings a snapshot back under the name `seq`. ENOENT without the file, EINVAL when it is of other numerics, EAGAIN without blocks. */
  async restore(seq: string, file: string): Promise<{ position: number }> {
    await this.files.settled(file);
    const saved = find(file, this.loaded.numerics, this.files);
    if (saved === undefined) throw new SomaError("ENOENT", `no snapshot ${file}: prefill again`);
    this.leave([seq], "drop");
    const { numerics: _, ...rest } = saved.head;
    const sequence: Sequence = { ...rest, id: seq, table: this.kv.open(), leaving: undefined };
    try {
      fill(this.loaded, this.kv, sequence.table, saved, this.files, {
        grow: (table, tokens) => this.parking.grow(table, tokens),
        soon: (blocks) => untilFree(this.sequences.values(), blocks, this.pace),
      });
    } catch (error) {
      this.kv.close(sequence.table);
      throw error;
    }
    this.sequences.set(seq, sequence);
    return { position: sequence.pos };
  }

  private plan(input: Input): Plan {
    const { seqs, maxSteps, tokenBudget } = input;
    const arrival = this.arrivals.get(input) ?? this.moment;
    const plan: Plan = { reports: new Map(), run: [], steps: Math.max(1, maxSteps) };
    const claims = new Set<string>();
    let waits = false;
    for (const { seq, start } of seqs) {
      if (plan.reports.has(seq)) throw new SomaError("EINVAL", `"${seq}" stands twice in the quantum`);
      const report: Report = { seq, computed: 0, cached: 0, newIds: [], finish: null };
      plan.reports.set(seq, report);
      const droppedSince = Math.max(this.droppedAll, this.drops.get(seq) ?? 0) > arrival;
      if (start && !droppedSince) {
        this.leave([seq], "drop");
        this.sequences.set(seq, this.parking.resume(seq, start) ?? openSequence(seq, start, this.kv.open()));
      }
      const sequence = this.sequences.get(seq);
      if (sequence === undefined) {
        report.finish = "unknown";
        continue;
      }
      const fault = start && sequences.fault(sequence, this.loaded);
      if (fault !== undefined) {
        Object.assign(report, { finish: "error", message: fault });
        this.close(sequence);
        continue;
      }
      if (sequences.isOver(sequence)) {
        report.finish = "length";
        this.close(sequence);
        continue;
      }
      report.cached = sequences.share(this.kv, sequence);
      // Somebody in this very quantum computes the next block of its prefix: it waits for that and shares it.
      const claim = sequences.claim(this.kv, sequence);
      if (claim !== undefined && claims.has(claim)) {
        waits = true;
        continue;
      }
      if (claim !== undefined) claims.add(claim);
      const complete = this.parking.grow(sequence.table, sequences.reach(sequence, maxSteps, this.loaded.context));
      if (!complete && sequence.table.blocks.length * this.loaded.blockTokens <= sequence.pos) {
        report.finish = "blocks";
        continue;
      }
      plan.run.push(sequence);
    }
    // Others wait for what is prefilled now: the quantum ends when that is done.
    if (waits) plan.steps = Math.min(plan.steps, prefillSteps(plan.run, tokenBudget));
    return plan;
  }

  private take(one: QuantumReport["seqs"][number], reports: Map<string, Report>): void {
    const sequence = this.sequences.get(one.seq)!;
    const report = reports.get(one.seq)!;
    report.computed = Math.max(0, one.pos - sequence.pos);
    report.newIds = one.newIds;
    report.finish = sequences.absorb(this.kv, sequence, one);
    if (report.finish !== null && sequence.start.mode === "score") report.logprobs = sequences.scores(sequence);
    if (report.finish !== null && sequence.start.mode === "embed") report.vector = sequences.vector(sequence);
    this.kv.shrink(sequence.table, sequence.pos);
    if (report.finish !== null) this.close(sequence);
    else if (sequence.leaving) this.end(sequence);
  }

  private deliver(tokens: readonly Token[], outbox: Outbox): void {
    let urgent = false;
    for (const { seq, pos, id, logprob, top } of tokens) {
      const sequence = this.sequences.get(seq)!;
      // What is put aside goes on from here: its tokens are wanted.
      if (sequence.leaving === "drop") continue;
      const { prompt, start } = sequence;
      // The first token ends somebody's waiting.
      if (pos === prompt) {
        urgent = true;
        this.firsts.set(seq, performance.now());
      }
      outbox.add(start.to, pos - prompt, id, logprob, top);
    }
    outbox.ripe(urgent);
  }

  /** Spans of one sequence of a quantum: its wait for the device, its prefill until its first token, its decoding. Before `take`. */
  private trace(
    { seq, pos, newIds }: QuantumReport["seqs"][number],
    together: number,
    arrivedAt: number,
    from: number,
  ) {
    const sequence = this.sequences.get(seq)!;
    const { trace } = sequence.start;
    if (trace === undefined) return;
    const until = performance.now();
    const before = sequence.pos < sequence.prompt;
    const first = before ? (this.firsts.get(seq) ?? until) : from;
    const rows = Math.max(0, pos - sequence.pos);
    if (from > arrivedAt) this.tracer?.add(trace, "wait", arrivedAt, from);
    if (before) this.tracer?.add(trace, "prefill", from, first, { rows, together });
    if (until > first) this.tracer?.add(trace, "decode", first, until, { tokens: newIds.length, together });
  }

  private end(sequence: Sequence): void {
    if (sequence.leaving === "drop") return this.close(sequence);
    this.sequences.delete(sequence.id);
    this.parking.park(sequence);
    if (sequence.leaving === "move") void this.parking.moveOut([sequence.id]);
  }

  private close(sequence: Sequence): void {
    this.kv.close(sequence.table);
    this.sequences.delete(sequence.id);
    if (sequence.start.parked) this.parking.forget([sequence.id]);
  }
}

function prefillSteps(run: readonly Sequence[], tokenBudget: number): number {
  const rows = run.reduce((sum, { ids, pos }) => sum + ids.length - pos, 0);
  return Math.max(1, Math.ceil(rows / tokenBudget));
}
