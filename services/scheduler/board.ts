// Owns the board: sequences that wait or run, devices that have their models, and which sequences make the next quantum. No I/O.
import { Accounts } from "./accounts.ts";
import { Balance, surplus } from "./balance.ts";
import { Charges } from "./charges.ts";
import { estimate } from "./estimate.ts";
import type { End, Handover } from "./handover.ts";
import { type Held, held } from "./held.ts";
import { foremost, type Order } from "./order.ts";
import { type Cut, type Part, partName } from "./parts.ts";
import { choose, victims } from "./pick.ts";
import { POLICY, type PolicyName } from "./policies.ts";
import { LENGTH, TOKEN_BUDGET } from "./quanta.ts";
import { type Recut, recut } from "./recut.ts";
import {
  blocksOf,
  type Input,
  named,
  openSequence,
  outputOf,
  type Quantum,
  type Report,
  type Sequence,
  untilToken,
} from "./sequence.ts";
import {
  allows,
  bind,
  hurry,
  newcomer,
  overtaken,
  type Placement,
  placed,
  returned,
  type Slot,
  unheard,
} from "./slot.ts";
import { Slots } from "./slots.ts";
import { Speed } from "./speed.ts";
import { Waiting } from "./waiting.ts";
import { why } from "./why.ts";

export type { Input, Placement, Quantum, Report };

export class Board {
  readonly accounts: Accounts;
  readonly sequences = new Map<string, Sequence>();
  private name: PolicyName = "fair";
  private readonly charges: Charges;
  readonly slots = new Slots();
  private readonly waiting = new Waiting(() => this.name);
  private arrivals = 0;
  private quanta = 0;
  /** By model. */
  private readonly speeds = new Map<string, Speed>();

  constructor(
    private readonly now: () => number,
    weightOf: (principal: string) => number = () => 1,
  ) {
    this.accounts = new Accounts(weightOf, (account) => {
      for (const order of this.orders()) order.touch(account);
    });
    this.charges = new Charges(this.accounts);
  }

  get policy(): PolicyName {
    return this.name;
  }

  set policy(name: PolicyName) {
    this.name = name;
    for (const order of this.orders()) order.use(POLICY[name]);
  }

  private *orders(): Iterable<Order<Sequence>> {
    yield* this.waiting;
    for (const { ready } of this.slots) yield ready;
  }

  place(placement: Placement): void {
    const { device, model, epoch, numerics } = placement;
    const known = this.slots.on(device, model);
    if (known[0]?.epoch === epoch && known[0].numerics === numerics)
      for (const slot of known) Object.assign(slot, placed(placement, slot.part));
    else {
      for (const slot of known) this.leave(slot);
      this.slots.open(placement, POLICY[this.name]);
      // What waits for its first turn elsewhere is dealt out anew.
      for (const slot of this.slots.of(model)) this.unbind(slot);
    }
  }

  /** A device says all that it has: other models are gone from it. */
  announce(deviceName: string, placements: readonly Placement[]): void {
    for (const slot of this.slots.on(deviceName))
      if (!placements.some(({ model }) => model === slot.model)) this.leave(slot);
    for (const placement of placements) this.place(placement);
  }

  /** A device went down: what ran there waits again, with the ids it has so far. */
  down(deviceName: string): void {
    for (const slot of this.slots.on(deviceName)) this.leave(slot);
  }

  /** A device is about to go: its sequences go on elsewhere, with their KV. False when it is not known. */
  drain(deviceName: string): boolean {
    const slots = this.slots.on(deviceName);
    for (const slot of slots) {
      slot.draining = true;
      for (const sequence of [...slot.ready.values()]) this.park(sequence, slot);
    }
    return slots.length > 0;
  }

  private unbind(slot: Slot): void {
    for (const sequence of [...slot.ready.values()]) {
      if (!unheard(sequence)) continue;
      this.park(sequence, slot);
      sequence.attempt -= 1;
    }
  }

  private leave(slot: Slot): void {
    for (const sequence of [...slot.ready.values()]) this.evict(sequence);
    this.slots.close(slot);
  }

  /** Its KV is lost: it begins again with the ids it has, on any device. */
  private evict(sequence: Sequence): void {
    // What was put aside has left its slot.
    const slot = this.slots.holding(sequence);
    if (slot !== undefined) this.park(sequence, slot);
    sequence.parkedOn = undefined;
    sequence.attempt += 1;
  }

  /** It gives its room up: it goes on later, here or elsewhere. What its quanta in flight still report counts until then. */
  private park(sequence: Sequence, slot: Slot): void {
    // Where it was only bound, nothing of it lies.
    if (!unheard(sequence)) sequence.parkedOn = slot.device;
    slot.ready.delete(sequence);
    slot.leased -= blocksOf(sequence);
    this.charges.settle(sequence);
    sequence.device = undefined;
    sequence.startedOn = undefined;
    this.waiting.for(sequence).add(sequence);
  }

  /**
   * Cuts a device into parts, anew if it is cut already, or with none given makes it one again; sequences go on with their
   * KV. Returns those that are put aside since their part has too little room now, and those that no part has room for ever.
   * EINVAL.
   */
  cut(deviceName: string, parts: readonly Cut[]): Recut {
    return recut(deviceName, parts, {
      slots: this.slots,
      sequences: [...this.sequences.values()],
      policy: POLICY[this.name],
      waitingFor: (sequence) => this.waiting.for(sequence),
      park: (sequence, slot) => this.park(sequence, slot),
      capacity: ({ input, pin }) => this.capacity(input.model, pin),
    });
  }

  /** Blocks of the largest part of a device that has this model and where it may run, or undefined when none has it. */
  capacity(model: string, pin?: string): number | undefined {
    const blocks = this.slotsFor(model, pin).map((slot) => slot.blocks);
    return blocks.length === 0 ? undefined : Math.max(...blocks);
  }

  /** ms until such a sequence would be done, by measured speed; undefined while nothing was measured. */
  estimate(input: Input, pin?: string): number | undefined {
    const slots = this.slotsFor(input.model, pin);
    const there = (other: Sequence) =>
      other.device === undefined ? pin === undefined || other.pin === pin : slots.includes(this.slots.holding(other)!);
    const others = this.wanting().filter((other) => other.input.model === input.model && there(other));
    const devices = new Set(slots.map(({ device }) => device)).size;
    const ms = estimate(input, others, Math.max(1, devices), this.speeds.get(input.model));
    // On one part alone it has that part's share, and what others leave.
    return ms === undefined || slots.length !== 1 ? ms : ms / this.dueNow(slots[0]!);
  }

  /** The share that a part gets of its device among those that want something now. */
  private dueNow({ device, part }: Slot): number {
    const rivals = this.slots.division(device).parts.filter((one) => one === part || this.wants(device, one));
    return part.share / rivals.reduce((sum, { share }) => sum + share, 0);
  }

  /** Whether anybody is bound to a part of a device, or waits for it. */
  private wants(device: string, part: Part): boolean {
    const name = partName(device, part);
    return this.slots
      .on(device)
      .some((slot) => slot.part === part && (slot.ready.size > 0 || this.waiting.anyFor(slot.model, name)));
  }

  add(id: string, principal: string, to: string, deadline: number, input: Input, pin?: string): void {
    const account = this.accounts.enter(principal);
    const [arrival, arrivedAt, turn] = [this.arrivals++, this.now(), this.charges.turn()];
    const sequence = openSequence({ id, principal, account, to, input, deadline, arrival, arrivedAt, turn, pin });
    this.sequences.set(id, sequence);
    this.waiting.for(sequence).add(sequence);
  }

  /** Forgets a sequence; returns where its KV lies, to be dropped there. */
  remove(id: string): { device: string; model: string } | undefined {
    const sequence = this.sequences.get(id);
    if (sequence === undefined) return undefined;
    const { device, parkedOn = device, input } = sequence;
    this.sequences.delete(id);
    this.waiting.for(sequence).delete(sequence);
    const slot = this.slots.holding(sequence);
    if (slot?.ready.delete(sequence)) slot.leased -= blocksOf(sequence);
    this.charges.settle(sequence);
    if (!sequence.paused) this.accounts.leave(sequence.account);
    return parkedOn === undefined ? undefined : { device: parkedOn, model: input.model };
  }

  /** Sequences that want to run: all but those that are paused. */
  wanting(): Sequence[] {
    return [...this.sequences.values()].filter(({ paused }) => !paused);
  }

  /**
   * Takes a sequence out of the running at its next token, with its KV put aside; its app counts as without it. What its
   * quanta in flight still report counts, and may end it. Returns the device that is to be told, if one has its KV.
   */
  pause(sequence: Sequence): string | undefined {
    if (sequence.paused) return undefined;
    const slot = this.slots.holding(sequence);
    if (slot !== undefined) this.park(sequence, slot);
    this.waiting.for(sequence).delete(sequence);
    this.accounts.leave(sequence.account);
    sequence.paused = true;
    return slot && sequence.parkedOn;
  }

  /** It waits for its turn again, as one that just came; there or elsewhere, with the same tokens. */
  resume(sequence: Sequence): void {
    if (!sequence.paused) return;
    sequence.paused = false;
    this.accounts.enter(sequence.principal);
    this.waiting.for(sequence).add(sequence);
  }

  /** The next quantum for some device that has room for one, or undefined. Counts it as in flight. */
  next(): Handover | undefined {
    const policy = POLICY[this.name];
    for (const slot of this.slots.turns()) {
      if (slot.draining || !this.slots.hasRoom(slot)) continue;
      const waiting = this.waiting.at(slot);
      const slots = this.slots.of(slot.model).filter(({ draining }) => !draining);
      const first = foremost(policy, waiting)?.first;
      if (slot.ready.size === 0 && first === undefined) this.takeOver(slots, slot);
      const parked = victims(slot, first, policy);
      for (const victim of parked) this.park(victim, slot);
      for (const { account } of parked) account.preempted += 1;
      const chosen = choose(slot, waiting, policy, this.charges, new Balance(slots));
      if (chosen.length > 0) return { ...this.handover(slot, chosen), park: parked.map(({ id }) => id) };
    }
    return undefined;
  }

  /** An idle device takes over from a busy one. */
  private takeOver(slots: readonly Slot[], idle: Slot): void {
    const taken = slots.length < 2 ? undefined : surplus(slots, idle);
    for (const sequence of taken?.sequences ?? []) {
      this.park(sequence, taken!.from);
      this.waiting.for(sequence).delete(sequence);
      bind(idle, sequence);
      idle.ready.add(sequence);
    }
  }

  private handover(slot: Slot, chosen: readonly Sequence[]): Omit<Handover, "park"> {
    const { device, epoch, model } = slot;
    const rival = this.slots.division(device).parts.some((part) => part !== slot.part && this.wants(device, part));
    const crowded = rival || slot.ready.size > chosen.length || this.waiting.at(slot).some(({ size }) => size > 0);
    const cut = hurry(chosen, slot.inFlight);
    const brisk = slot.ready.size > chosen.length && chosen.some(newcomer);
    const quantum = `q${++this.quanta}`;
    const attempts = new Map(chosen.map((sequence) => [sequence.id, sequence.attempt]));
    const charged = this.slots.division(device).hand(slot.part, (other) => this.wants(device, other));
    slot.inFlight.push({ quantum, long: !crowded, brisk, attempts, charged });
    const where = `${device}/${epoch}`;
    const [move, waited] = [[] as Handover["move"], [] as number[]];
    const seqs = chosen.map((sequence) => {
      if (sequence.firstRunAt === undefined) {
        sequence.firstRunAt = this.now();
        waited.push(sequence.firstRunAt - sequence.arrivedAt);
      }
      const one = named(sequence, where);
      sequence.startedOn = where;
      const { id: seq, parkedOn } = sequence;
      if (parkedOn !== undefined && parkedOn !== device) move.push({ device: parkedOn, seq });
      sequence.parkedOn = undefined;
      return one;
    });
    // A brisk one ends with the first tokens; then all go on together.
    const { maxSteps, maxMs } = crowded ? LENGTH.crowded : LENGTH.alone;
    const steps = brisk ? Math.min(maxSteps, Math.ceil(untilToken(chosen) / TOKEN_BUDGET)) : maxSteps;
    return {
      device,
      epoch,
      quantum: { quantum, model, maxSteps: steps, maxMs, tokenBudget: TOKEN_BUDGET, seqs },
      cut,
      waited,
      move,
    };
  }

  /** Where two quanta keep a newcomer waiting that should not have to. */
  held(id: string): Held[] {
    const sequence = this.sequences.get(id)!;
    return held(sequence, this.slotsFor(sequence.input.model, sequence.pin), this.slots);
  }

  /** Takes a report; returns what has ended. */
  report(deviceName: string, model: string, report: Report): End[] {
    const lane = this.slots.on(deviceName, model);
    const missing = overtaken(lane[0], report.quantum);
    const flight = returned(lane[0], report.quantum);
    const slot = lane.find(({ part }) => part === flight?.charged.part) ?? lane[0];
    if (flight) this.slots.division(deviceName).settle(flight.charged, report.ms, report.cpuMs);
    if (report.ms > 1 && report.computedTokens > 0) this.measure(model, slot, report);
    const ended: End[] = [];
    for (const part of report.seqs) {
      const sequence = this.sequences.get(part.seq);
      // Finished, cancelled or moved meanwhile.
      if (sequence === undefined || sequence.attempt !== flight?.attempts.get(part.seq)) continue;
      // Ids before these are not known, or the device has dropped it: it goes on from those that are.
      const broken = missing.some(({ attempts }) => attempts.get(part.seq) === sequence.attempt);
      if (broken || (part.finish === "unknown" && sequence.device !== undefined)) {
        this.evict(sequence);
        continue;
      }
      // Named in a quantum that came after it was put aside.
      if (part.finish === "unknown" || (sequence.device === undefined && part.finish === "error")) continue;
      sequence.newIds.push(...part.newIds);
      sequence.computed += part.computed;
      sequence.cached += part.cached;
      this.charges.correct(sequence, part.computed, this.slots.holding(sequence));
      if (part.finish === null || part.finish === "blocks") continue;
      if (part.finish === "error") ended.push({ id: part.seq, problem: part.message ?? "the device refused it" });
      else
        ended.push({
          id: part.seq,
          output: outputOf(sequence, part.finish, part, this.now(), slot?.numerics ?? ""),
        });
    }
    return ended;
  }

  private measure(model: string, slot: Slot | undefined, { steps, computedTokens, ms }: Report): void {
    let speed = this.speeds.get(model);
    if (speed === undefined) this.speeds.set(model, (speed = new Speed()));
    speed.add(steps, computedTokens, ms);
    const pace = ms / computedTokens;
    if (slot === undefined) return;
    slot.pace = slot.pace === undefined ? pace : 0.8 * slot.pace + 0.2 * pace;
    slot.steps = 0.5 * slot.steps + 0.5 * Math.min(steps, LENGTH.crowded.maxSteps);
  }

  /** A quantum did not come back: whatever it held runs anew from the ids that were reported. */
  lost(deviceName: string, { model, quantum, seqs }: Quantum): void {
    const flight = returned(this.slots.on(deviceName, model)[0], quantum);
    if (flight) this.slots.division(deviceName).settle(flight.charged, 0);
    for (const { seq } of seqs) {
      const sequence = this.sequences.get(seq);
      if (sequence && sequence.attempt === flight?.attempts.get(seq)) this.evict(sequence);
    }
  }

  /** Why a sequence does not run, in a sentence with numbers. */
  why(sequence: Sequence): string {
    const { model } = sequence.input;
    return why(sequence, {
      policy: this.policy,
      slots: this.slots.of(model),
      sequences: this.sequences.values(),
      speed: this.speeds.get(model),
      shares: this.accounts.values(),
    });
  }

  private slotsFor(model: string, pin: string | undefined): Slot[] {
    return this.slots.of(model).filter((slot) => allows(slot, pin));
  }
}
