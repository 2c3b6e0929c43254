// Owns the board: sequences that wait or run, devices that have their models, and which sequences make the next quantum. No I/O.
import type { z } from "zod";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { device } from "../../kernel/abi/syscalls/device.ts";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import { type Account, Accounts } from "./accounts.ts";
import { goesBefore, Order } from "./order.ts";
import { type Candidate, POLICY, type PolicyName } from "./policies.ts";

export type Input = z.output<typeof scheduler.run.input>;
export type Output = z.output<typeof scheduler.run.output>;
export type Placement = z.output<typeof scheduler.place.input>;
export type Quantum = z.input<typeof device.run.input>;
export type Report = z.output<typeof device.run.output>;

export interface Sequence extends Candidate {
  principal: string;
  account: Account;
  /** `<caller>/<request id>`, which is also its name on the device. */
  id: string;
  /** Inbox that tokens go to. */
  to: string;
  input: Input;
  newIds: number[];
  /** Where its KV lies, once it has run there. */
  device: string | undefined;
  /** Device and epoch that have its ids, so that quanta need only name it. */
  startedOn: string | undefined;
  /** `computed` when it came onto its device. */
  since: number;
  /** Grows when it begins again: what older quanta still report of it does not count. */
  attempt: number;
  /** What was charged in advance for each quantum in flight that names it, in their order. */
  charged: number[];
  firstRunAt: number | undefined;
  computed: number;
  cached: number;
}

interface Flight {
  quantum: string;
  long: boolean;
  /** Which attempt at each of its sequences it belongs to. */
  attempts: Map<string, number>;
}

/** A model on a device. */
interface Slot extends Placement {
  /** Quanta that were handed over; `long` ones are to be cut short when somebody comes. */
  inFlight: Flight[];
  /** Sequences whose KV is there, and the blocks set aside for them until their end. */
  ready: Order<Sequence>;
  leased: number;
}

/** Sequences in one quantum, at most. */
const BATCH = 64;
/** Tokens that a sequence may compute before others can take its KV: taking turns more often would only cost. */
const TENURE = 128;
/** Quanta at a device at a time: the one that runs, and the next, so that the bus costs nothing. */
const AHEAD = 2;
/** Rows of one step: prefill chunks and decode steps together. */
const TOKEN_BUDGET = 128;
/** Short where others wait, long where nobody does. */
/** With so few tokens to go it is not worth handing over another quantum before the report. */
const BRIEF = 16;
const LENGTH = { crowded: { maxSteps: 8, maxMs: 60 }, alone: { maxSteps: 32, maxMs: 250 } };

export class Board {
  readonly accounts: Accounts;
  readonly sequences = new Map<string, Sequence>();
  private name: PolicyName = "fair";
  private readonly slots = new Map<string, Slot>();
  /** By model: sequences that are on no device. */
  private readonly waiting = new Map<string, Order<Sequence>>();
  private arrivals = 0;
  private quanta = 0;
  private turns = 0;
  /** Tokens computed per ms by model, smoothed. */
  private readonly speed = new Map<string, number>();

  constructor(
    private readonly now: () => number,
    weightOf: (principal: string) => number = () => 1,
  ) {
    this.accounts = new Accounts(weightOf, (account) => {
      for (const order of this.orders()) order.touch(account);
    });
  }

  get policy(): PolicyName {
    return this.name;
  }

  set policy(name: PolicyName) {
    this.name = name;
    for (const order of this.orders()) order.use(POLICY[name]);
  }

  private *orders(): Iterable<Order<Sequence>> {
    yield* this.waiting.values();
    for (const { ready } of this.slots.values()) yield ready;
  }

  place(placement: Placement): void {
    const key = slotKey(placement.device, placement.model);
    const known = this.slots.get(key);
    if (known?.epoch === placement.epoch && known.numerics === placement.numerics) Object.assign(known, placement);
    else {
      if (known) this.leave(known);
      this.slots.set(key, { ...placement, inFlight: [], ready: new Order(POLICY[this.name]), leased: 0 });
    }
  }

  /** A device says all that it has: other models are gone from it. */
  announce(deviceName: string, placements: readonly Placement[]): void {
    for (const slot of [...this.slots.values()]) {
      if (slot.device !== deviceName || placements.some(({ model }) => model === slot.model)) continue;
      this.leave(slot);
    }
    for (const placement of placements) this.place(placement);
  }

  /** A device went down: what ran there waits again, with the ids it has so far. */
  down(deviceName: string): void {
    for (const slot of [...this.slots.values()]) if (slot.device === deviceName) this.leave(slot);
  }

  private leave(slot: Slot): void {
    this.slots.delete(slotKey(slot.device, slot.model));
    for (const sequence of [...slot.ready.values()]) this.evict(sequence, slot);
  }

  /** Its KV is lost: it begins again with the ids it has, on any device. */
  private evict(sequence: Sequence, slot: Slot): void {
    slot.ready.delete(sequence);
    slot.leased -= blocksOf(sequence);
    this.settle(sequence, 0);
    sequence.device = undefined;
    sequence.startedOn = undefined;
    sequence.attempt += 1;
    this.waitingFor(slot.model).add(sequence);
  }

  private waitingFor(model: string): Order<Sequence> {
    let order = this.waiting.get(model);
    if (order === undefined) {
      order = new Order(POLICY[this.name]);
      this.waiting.set(model, order);
    }
    return order;
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
    const account = this.accounts.enter(principal);
    const sequence: Sequence = {
      id,
      principal,
      account,
      to,
      input,
      deadline,
      arrival: this.arrivals++,
      arrivedAt: this.now(),
      priority: input.priority,
      turn: this.turns++,
      // It joins its siblings where the one that was picked last stands: neither first for ever nor last.
      served: account.reach,
      newIds: [],
      device: undefined,
      startedOn: undefined,
      attempt: 0,
      since: 0,
      charged: [],
      firstRunAt: undefined,
      computed: 0,
      cached: 0,
    };
    this.sequences.set(id, sequence);
    this.waitingFor(input.model).add(sequence);
  }

  /** Forgets a sequence; returns where its KV lies, to be dropped there. */
  remove(id: string): { device: string; model: string } | undefined {
    const sequence = this.sequences.get(id);
    if (sequence === undefined) return undefined;
    const { device, input } = sequence;
    this.sequences.delete(id);
    this.waiting.get(input.model)?.delete(sequence);
    const slot = device === undefined ? undefined : this.slots.get(slotKey(device, input.model));
    if (slot?.ready.delete(sequence)) slot.leased -= blocksOf(sequence);
    this.settle(sequence, 0);
    this.accounts.leave(sequence.account);
    return device === undefined ? undefined : { device, model: input.model };
  }

  /**
   * The next quantum for some device that has room for one, or undefined. Counts it as in flight. `cut`: what runs
   * there shall end at its next step, for a newcomer waits. `drop`: sequences that give their KV up to others; it stays
   * cached as long as its room is not needed.
   */
  next(): { device: string; epoch: number; quantum: Quantum; cut: boolean; drop: string[] } | undefined {
    for (const slot of [...this.slots.values()].sort((a, b) => a.inFlight.length - b.inFlight.length)) {
      if (slot.inFlight.length >= AHEAD) continue;
      const drop = this.makeRoom(slot);
      const chosen = this.choose(slot);
      if (chosen.length === 0) continue;
      const crowded = slot.ready.size > chosen.length || (this.waiting.get(slot.model)?.size ?? 0) > 0;
      const length = crowded ? LENGTH.crowded : LENGTH.alone;
      const cut = chosen.some(
        (one) => one.firstRunAt === undefined && slot.inFlight.some((flight) => hurries(one, flight)),
      );
      this.quanta += 1;
      const id = `q${this.quanta}`;
      const attempts = new Map(chosen.map((sequence) => [sequence.id, sequence.attempt]));
      slot.inFlight.push({ quantum: id, long: !crowded, attempts });
      const seqs = chosen.map((sequence) => this.enlist(sequence, slot));
      return {
        device: slot.device,
        epoch: slot.epoch,
        quantum: { quantum: id, model: slot.model, ...length, tokenBudget: TOKEN_BUDGET, seqs },
        cut,
        drop,
      };
    }
    return undefined;
  }

  /** Devices where two quanta keep a newcomer waiting that should not have to. */
  held(id: string): string[] {
    const sequence = this.sequences.get(id)!;
    return this.slotsOf(sequence.input.model)
      .filter(({ inFlight }) => inFlight.length >= AHEAD && hurries(sequence, inFlight[0]!))
      .map(({ device }) => device);
  }

  /** Evicts sequences of other apps that the best waiting one goes before, until its KV fits; none when it would not. */
  private makeRoom(slot: Slot): string[] {
    const fresh = this.waiting.get(slot.model)?.first;
    if (fresh === undefined || slot.leased + blocksOf(fresh) <= slot.blocks) return [];
    const policy = POLICY[this.name];
    const candidates = [...slot.ready.values()]
      .filter(
        (one) => one.account !== fresh.account && one.computed - one.since >= TENURE && goesBefore(policy, fresh, one),
      )
      .sort((a, b) => (goesBefore(policy, a, b) ? 1 : -1));
    const victims: Sequence[] = [];
    let short = slot.leased + blocksOf(fresh) - slot.blocks;
    for (const one of candidates) {
      if (short <= 0) break;
      victims.push(one);
      short -= blocksOf(one);
    }
    if (short > 0) return [];
    for (const victim of victims) this.evict(victim, slot);
    return victims.map(({ id }) => id);
  }

  /** The best sequences by the policy: those that are there, and others as long as their KV fits. */
  private choose(slot: Slot): Sequence[] {
    const policy = POLICY[this.name];
    const waiting = this.waiting.get(slot.model);
    const chosen: Sequence[] = [];
    const passed: Sequence[] = [];
    while (chosen.length < BATCH) {
      const here = slot.ready.first;
      const fresh = waiting?.first;
      // Strictly in order: a large one is not passed by small ones for ever.
      const fits = fresh !== undefined && slot.leased + blocksOf(fresh) <= slot.blocks;
      if (fresh !== undefined && fits && (here === undefined || goesBefore(policy, fresh, here))) {
        waiting!.delete(fresh);
        slot.leased += blocksOf(fresh);
        fresh.device = slot.device;
        fresh.since = fresh.computed;
        this.charge(fresh);
        chosen.push(fresh);
      } else if (here !== undefined) {
        slot.ready.delete(here);
        // A score or a vector is asked for once; what goes on may be named in the next quantum already.
        if (here.charged.length === 0 || (here.input.mode === "generate" && here.charged.length < AHEAD)) {
          this.charge(here);
          chosen.push(here);
        } else passed.push(here);
      } else break;
    }
    // Only what goes on for long is worth a second quantum before the first has come back.
    const brief = chosen.every((one) => one.charged.length > 1 && rest(one) <= BRIEF);
    if (brief) for (const sequence of chosen) this.refund(sequence);
    for (const sequence of [...chosen, ...passed]) slot.ready.add(sequence);
    return brief ? [] : chosen;
  }

  /** In advance, so that the picks of one quantum share it as the policy says; the report corrects it. Not while it is in an order. */
  private charge(sequence: Sequence): void {
    const { account } = sequence;
    const expected = Math.max(1, Math.min(rest(sequence), LENGTH.crowded.maxSteps));
    account.reach = Math.max(account.reach, sequence.served);
    sequence.charged.push(expected);
    sequence.served += expected;
    sequence.turn = this.turns++;
    this.accounts.charge(account, expected);
  }

  private refund(sequence: Sequence): void {
    const expected = sequence.charged.pop()!;
    sequence.served -= expected;
    this.accounts.charge(sequence.account, -expected);
  }

  /** It leaves, or its quanta are lost: what was charged in advance is given back. */
  private settle(sequence: Sequence, tokens: number): void {
    const charged = sequence.charged.splice(0).reduce((a, b) => a + b, 0);
    sequence.served += tokens - charged;
    this.accounts.charge(sequence.account, tokens - charged, tokens);
  }

  /** What its oldest quantum computed replaces what was charged for it; its place among its siblings follows. */
  private account(sequence: Sequence, computed: number, slot: Slot | undefined): void {
    const there = slot?.ready.delete(sequence) ?? false;
    const correction = computed - (sequence.charged.shift() ?? 0);
    sequence.served += correction;
    this.accounts.charge(sequence.account, correction, computed);
    if (there) slot!.ready.add(sequence);
  }

  private enlist(sequence: Sequence, slot: Slot): Quantum["seqs"][number] {
    const where = `${slot.device}/${slot.epoch}`;
    sequence.firstRunAt ??= this.now();
    if (sequence.startedOn === where) return { seq: sequence.id };
    sequence.startedOn = where;
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
  report(deviceName: string, model: string, report: Report): { id: string; output?: Output; problem?: string }[] {
    const slot = this.slots.get(slotKey(deviceName, model));
    const flight = returned(slot, report.quantum);
    if (report.ms > 1 && report.computedTokens > 0) {
      const measured = report.computedTokens / report.ms;
      this.speed.set(model, 0.8 * (this.speed.get(model) ?? measured) + 0.2 * measured);
    }
    const ended: { id: string; output?: Output; problem?: string }[] = [];
    for (const part of report.seqs) {
      const sequence = this.sequences.get(part.seq);
      // Finished, cancelled or moved meanwhile.
      if (sequence === undefined || sequence.attempt !== flight?.attempts.get(part.seq)) continue;
      sequence.newIds.push(...part.newIds);
      sequence.computed += part.computed;
      sequence.cached += part.cached;
      this.account(sequence, part.computed, slot);
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
    const { input, newIds, computed, cached, arrivedAt, firstRunAt = arrivedAt } = sequence;
    const usage = {
      promptTokens: input.ids.length,
      newTokens: newIds.length,
      computedTokens: computed,
      cachedTokens: cached,
      queueMs: firstRunAt - arrivedAt,
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
  lost(deviceName: string, { model, quantum, seqs }: Quantum): void {
    const slot = this.slots.get(slotKey(deviceName, model));
    const flight = returned(slot, quantum);
    for (const { seq } of seqs) {
      const sequence = this.sequences.get(seq);
      if (sequence && sequence.attempt === flight?.attempts.get(seq)) this.evict(sequence, slot!);
    }
  }

  /** Why a sequence does not run, in a sentence with numbers. */
  why(sequence: Sequence): string {
    if (sequence.charged.length > 0)
      return `runs on ${sequence.device}, ${sequence.newIds.length} of ${sequence.input.maxNew} tokens made`;
    const { model } = sequence.input;
    const slots = this.slotsOf(model);
    if (slots.length === 0) return `no device has ${model} resident yet`;
    const ahead = [...this.sequences.values()].filter(
      (other) => other !== sequence && other.charged.length > 0 && other.input.model === model,
    );
    const free = Math.max(...slots.map(({ blocks, leased }) => blocks - leased));
    if (sequence.device === undefined && blocksOf(sequence) > free)
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

/** A quantum made long for nobody waited is cut for any newcomer, a short one only for an app's single one: a flood cuts none. */
function hurries({ account }: Sequence, { long }: Flight): boolean {
  return long || account.active === 1;
}

/** Counts a quantum as over; undefined when it was not in flight there. */
function returned(slot: Slot | undefined, quantum: string): Flight | undefined {
  const at = slot?.inFlight.findIndex((one) => one.quantum === quantum) ?? -1;
  return at < 0 ? undefined : slot!.inFlight.splice(at, 1)[0];
}

function slotKey(deviceName: string, model: string): string {
  return `${deviceName}/${model}`;
}
