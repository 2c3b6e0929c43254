// Owns the board: sequences that wait or run, devices that have their models, and which sequences make the next quantum. No I/O.
import type { z } from "zod";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { device } from "../../kernel/abi/syscalls/device.ts";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import { type Candidate, order, type PolicyName } from "./policy.ts";
import { Shares } from "./shares.ts";

export type Input = z.output<typeof scheduler.run.input>;
export type Output = z.output<typeof scheduler.run.output>;
export type Placement = z.output<typeof scheduler.place.input>;
export type Quantum = z.input<typeof device.run.input>;
export type Report = z.output<typeof device.run.output>;

export interface Sequence extends Candidate {
  /** `<caller>/<request id>`, which is also its name on the device. */
  id: string;
  /** Inbox that tokens go to. */
  to: string;
  input: Input;
  newIds: number[];
  /** Where its KV lies, once it has run there. */
  device: string | undefined;
  inFlight: number;
  enteredAt: number;
  firstRunAt: number | undefined;
  computed: number;
  cached: number;
}

interface Slot extends Placement {
  inFlight: number;
}

/** Sequences in one quantum, at most. */
const BATCH = 64;
/** Quanta at a device at a time: the one that runs, and the next, so that the bus costs nothing. */
const AHEAD = 2;
/** Rows of one step: prefill chunks and decode steps together. */
const TOKEN_BUDGET = 256;
/** Short where others wait, long where nobody does. */
const LENGTH = { crowded: { maxSteps: 8, maxMs: 60 }, alone: { maxSteps: 32, maxMs: 250 } };

export class Board {
  policy: PolicyName = "fair";
  readonly shares = new Shares();
  readonly sequences = new Map<string, Sequence>();
  private readonly slots = new Map<string, Slot>();
  private arrivals = 0;
  private quanta = 0;
  /** Tokens computed per ms by model, smoothed. */
  private readonly speed = new Map<string, number>();

  constructor(private readonly now: () => number) {}

  place(placement: Placement): void {
    const key = slotKey(placement.device, placement.model);
    const known = this.slots.get(key);
    const fresh = known?.epoch !== placement.epoch || known.numerics !== placement.numerics;
    this.slots.set(key, { ...placement, inFlight: fresh ? 0 : known.inFlight });
  }

  /** A device says all that it has: other models are gone from it. */
  announce(deviceName: string, placements: readonly Placement[]): void {
    for (const slot of [...this.slots.values()]) {
      if (slot.device !== deviceName || placements.some(({ model }) => model === slot.model)) continue;
      this.leave(slot.device, slot.model);
    }
    for (const placement of placements) this.place(placement);
  }

  /** A device went down: what ran there waits again, with the ids it has so far. */
  down(deviceName: string): void {
    for (const slot of [...this.slots.values()]) if (slot.device === deviceName) this.leave(slot.device, slot.model);
  }

  private leave(deviceName: string, model: string): void {
    this.slots.delete(slotKey(deviceName, model));
    for (const sequence of this.sequences.values()) {
      if (sequence.device !== deviceName || sequence.input.model !== model) continue;
      sequence.device = undefined;
      sequence.inFlight = 0;
    }
  }

  /** Blocks that the largest device with this model has, or undefined when none has it. */
  capacity(model: string): number | undefined {
    const blocks = this.slotsOf(model).map((slot) => slot.blocks);
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /** ms until such a sequence would be done, by measured speed; undefined while nothing was measured. */
  estimate(input: Input): number | undefined {
    const speed = this.speed.get(input.model);
    if (speed === undefined) return undefined;
    let tokens = input.ids.length + input.maxNew;
    // Under fair sharing others slow it down by as much as it asks for, at most.
    for (const other of this.sequences.values())
      if (other.input.model === input.model) tokens += Math.min(rest(other), input.ids.length + input.maxNew);
    return tokens / speed;
  }

  add(id: string, principal: string, to: string, deadline: number, input: Input): void {
    this.shares.enter(
      principal,
      [...this.sequences.values()].map((other) => other.principal),
    );
    this.sequences.set(id, {
      id,
      principal,
      to,
      input,
      deadline,
      arrival: this.arrivals++,
      priority: input.priority,
      lastRun: 0,
      newIds: [],
      device: undefined,
      inFlight: 0,
      enteredAt: this.now(),
      firstRunAt: undefined,
      computed: 0,
      cached: 0,
    });
  }

  /** Forgets a sequence; returns where its KV lies, to be dropped there. */
  remove(id: string): { device: string; model: string } | undefined {
    const sequence = this.sequences.get(id);
    this.sequences.delete(id);
    return sequence?.device === undefined ? undefined : { device: sequence.device, model: sequence.input.model };
  }

  /** The next quantum for some device that has room for one, or undefined. Counts it as in flight. */
  next(): { device: string; epoch: number; quantum: Quantum } | undefined {
    for (const slot of [...this.slots.values()].sort((a, b) => a.inFlight - b.inFlight)) {
      if (slot.inFlight >= AHEAD) continue;
      const { chosen, crowded } = this.choose(slot);
      if (chosen.length === 0) continue;
      slot.inFlight += 1;
      this.quanta += 1;
      const seqs = chosen.map((sequence) => this.enlist(sequence, slot));
      const length = crowded ? LENGTH.crowded : LENGTH.alone;
      return {
        device: slot.device,
        epoch: slot.epoch,
        quantum: { quantum: `q${this.quanta}`, model: slot.model, ...length, tokenBudget: TOKEN_BUDGET, seqs },
      };
    }
    return undefined;
  }

  private choose(slot: Slot): { chosen: Sequence[]; crowded: boolean } {
    const mine: Sequence[] = [];
    let used = 0;
    for (const sequence of this.sequences.values()) {
      if (sequence.input.model !== slot.model) continue;
      if (sequence.device === slot.device) used += blocksOf(sequence);
      // One that runs elsewhere stays there; a score or a vector is done within its quantum.
      const ready =
        sequence.inFlight === 0 ||
        (sequence.device === slot.device && sequence.input.mode === "generate" && sequence.inFlight < AHEAD);
      if (ready && (sequence.device === undefined || sequence.device === slot.device)) mine.push(sequence);
    }
    const chosen: Sequence[] = [];
    for (const sequence of order(this.policy, mine, this.shares.time)) {
      if (chosen.length >= BATCH) break;
      if (sequence.device === undefined) {
        if (used + blocksOf(sequence) > slot.blocks) continue;
        used += blocksOf(sequence);
      }
      chosen.push(sequence);
    }
    // A second quantum is worth handing over only for sequences that go on.
    if (
      slot.inFlight > 0 &&
      chosen.every(({ inFlight }) => inFlight > 0) &&
      chosen.every((sequence) => rest(sequence) <= LENGTH.crowded.maxSteps * 2)
    )
      return { chosen: [], crowded: false };
    return { chosen, crowded: mine.length > chosen.length };
  }

  private enlist(sequence: Sequence, slot: Slot): Quantum["seqs"][number] {
    sequence.inFlight += 1;
    sequence.lastRun = this.quanta;
    sequence.firstRunAt ??= this.now();
    if (sequence.device !== undefined) return { seq: sequence.id };
    sequence.device = slot.device;
    const { ids, mode, sample, stopIds, maxNew, allowed, logprobs, from } = sequence.input;
    return {
      seq: sequence.id,
      start: {
        ids: [...ids, ...sequence.newIds],
        generated: sequence.newIds.length,
        mode,
        sample,
        stopIds,
        maxNew,
        from,
        to: sequence.to,
        principal: sequence.principal,
        ...(allowed === undefined ? {} : { allowed }),
        ...(logprobs === undefined ? {} : { logprobs }),
      },
    };
  }

  /** Takes a report; returns what is finished, with its output, or why it failed. */
  report(
    deviceName: string,
    model: string,
    seqs: readonly string[],
    report: Report,
  ): { id: string; output?: Output; problem?: string }[] {
    const slot = this.slots.get(slotKey(deviceName, model));
    if (slot) slot.inFlight = Math.max(0, slot.inFlight - 1);
    if (report.ms > 1 && report.computedTokens > 0) {
      const measured = report.computedTokens / report.ms;
      this.speed.set(model, 0.8 * (this.speed.get(model) ?? measured) + 0.2 * measured);
    }
    for (const id of seqs) {
      const sequence = this.sequences.get(id);
      if (sequence?.device === deviceName) sequence.inFlight = Math.max(0, sequence.inFlight - 1);
    }
    const ended: { id: string; output?: Output; problem?: string }[] = [];
    for (const part of report.seqs) {
      const sequence = this.sequences.get(part.seq);
      // Finished, cancelled or moved meanwhile.
      if (sequence === undefined || sequence.device !== deviceName) continue;
      sequence.newIds.push(...part.newIds);
      sequence.computed += part.computed;
      sequence.cached += part.cached;
      this.shares.charge(sequence.principal, part.computed);
      if (part.finish === null || part.finish === "blocks") continue;
      if (part.finish === "error") ended.push({ id: part.seq, problem: part.message ?? "the device refused it" });
      else ended.push({ id: part.seq, output: this.output(sequence, part.finish, part, slot) });
    }
    return ended;
  }

  private output(
    sequence: Sequence,
    finish: "stop" | "length",
    part: Report["seqs"][number],
    slot: Slot | undefined,
  ): Output {
    const { input, newIds, computed, cached, enteredAt, firstRunAt = enteredAt } = sequence;
    const usage = {
      promptTokens: input.ids.length,
      newTokens: newIds.length,
      computedTokens: computed,
      cachedTokens: cached,
      queueMs: firstRunAt - enteredAt,
      runMs: this.now() - firstRunAt,
    };
    return {
      finish,
      newTokens: newIds.length,
      usage,
      numerics: slot?.numerics ?? "",
      device: sequence.device ?? "",
      ...(part.logprobs ? { logprobs: part.logprobs } : {}),
      ...(part.vector ? { vector: part.vector } : {}),
    };
  }

  /** A quantum did not come back: whatever it held runs anew from the ids that were reported. */
  lost(deviceName: string, model: string, seqs: readonly string[]): void {
    const slot = this.slots.get(slotKey(deviceName, model));
    if (slot) slot.inFlight = Math.max(0, slot.inFlight - 1);
    for (const id of seqs) {
      const sequence = this.sequences.get(id);
      if (sequence?.device !== deviceName) continue;
      sequence.device = undefined;
      sequence.inFlight = 0;
    }
  }

  /** Why a sequence does not run, in a sentence with numbers. */
  why(sequence: Sequence): string {
    if (sequence.inFlight > 0)
      return `runs on ${sequence.device}, ${sequence.newIds.length} of ${sequence.input.maxNew} tokens made`;
    const { model } = sequence.input;
    const slots = this.slotsOf(model);
    if (slots.length === 0) return `no device has ${model} resident yet`;
    const ahead = [...this.sequences.values()].filter(
      (other) => other !== sequence && other.inFlight > 0 && other.input.model === model,
    );
    const used = ahead.reduce((sum, other) => sum + blocksOf(other), 0);
    const free = Math.max(...slots.map(({ blocks }) => blocks)) - used;
    if (blocksOf(sequence) > free)
      return `needs ${blocksOf(sequence)} KV blocks, ${Math.max(0, free)} are free; ${ahead.length} sequences hold the others`;
    const speed = this.speed.get(model);
    const expected =
      speed === undefined
        ? ""
        : `, expected within ${Math.ceil((Math.min(...ahead.map(rest), LENGTH.alone.maxSteps) * Math.max(1, ahead.length)) / speed)} ms`;
    return `waits for its turn under ${this.policy}: ${ahead.length} sequences run${expected}`;
  }

  private slotsOf(model: string): Slot[] {
    return [...this.slots.values()].filter((slot) => slot.model === model);
  }
}

/** KV blocks for all that a sequence may come to. */
export function blocksOf({ input }: Pick<Sequence, "input">): number {
  return Math.ceil((input.ids.length + input.maxNew) / BLOCK_TOKENS);
}

/** Tokens that are still to compute, at most. */
function rest({ input, newIds, computed }: Sequence): number {
  return Math.max(0, input.ids.length - computed) + Math.max(0, input.maxNew - newIds.length);
}

function slotKey(deviceName: string, model: string): string {
  return `${deviceName}/${model}`;
}
