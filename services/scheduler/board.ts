// Owns the board: sequences that wait or run, devices that have their models, and which sequences make the next quantum. No I/O.
import { Accounts } from "./accounts.ts";
import { Balance, surplus } from "./balance.ts";
import { Charges } from "./charges.ts";
import { estimate } from "./estimate.ts";
import { Order } from "./order.ts";
import { choose, victims } from "./pick.ts";
import { POLICY, type PolicyName } from "./policies.ts";
import { AHEAD, LENGTH, TOKEN_BUDGET } from "./quanta.ts";
import {
  blocksOf,
  type Input,
  named,
  type Output,
  openSequence,
  outputOf,
  type Quantum,
  type Report,
  type Sequence,
} from "./sequence.ts";
import { bind, hurries, openSlot, overtaken, type Placement, returned, type Slot, slotKey, unheard } from "./slot.ts";
import { Speed } from "./speed.ts";
import { why } from "./why.ts";

export type { Input, Placement, Quantum, Report };

/** A quantum to be handed over. */
export interface Handover {
  device: string;
  epoch: number;
  quantum: Quantum;
  /** What runs there shall end at its next step, for a newcomer waits. */
  cut: boolean;
  /** Sequences that give their room up to others: they are put aside there. */
  park: string[];
  /** ms that each waited whose first quantum this is. */
  waited: number[];
  /** Sequences of this quantum that were put aside on other devices: to be moved from there first. */
  move: { device: string; seq: string }[];
}

/** A sequence that is finished, or why it failed. */
export interface End {
  id: string;
  output?: Output;
  problem?: string;
}

export class Board {
  readonly accounts: Accounts;
  readonly sequences = new Map<string, Sequence>();
  private name: PolicyName = "fair";
  private readonly charges: Charges;
  private readonly slots = new Map<string, Slot>();
  /** By model: sequences that are on no device. */
  private readonly waiting = new Map<string, Order<Sequence>>();
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
    yield* this.waiting.values();
    for (const { ready } of this.slots.values()) yield ready;
  }

  place(placement: Placement): void {
    const key = slotKey(placement.device, placement.model);
    const known = this.slots.get(key);
    if (known?.epoch === placement.epoch && known.numerics === placement.numerics) Object.assign(known, placement);
    else {
      if (known) this.leave(known);
      this.slots.set(key, openSlot(placement, POLICY[this.name]));
      // What waits for its first turn elsewhere is dealt out anew.
      for (const slot of this.slotsOf(placement.model)) this.unbind(slot);
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

  /** A device is about to go: its sequences go on elsewhere, with their KV. False when it is not known. */
  drain(deviceName: string): boolean {
    const slots = [...this.slots.values()].filter(({ device }) => device === deviceName);
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
    this.slots.delete(slotKey(slot.device, slot.model));
    for (const sequence of [...slot.ready.values()]) this.evict(sequence, slot);
  }

  /** Its KV is lost: it begins again with the ids it has, on any device. */
  private evict(sequence: Sequence, slot: Slot): void {
    // What was put aside has left its slot.
    if (sequence.device !== undefined) this.park(sequence, slot);
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
    const others = [...this.sequences.values()].filter((other) => other.input.model === input.model);
    return estimate(input, others, Math.max(1, this.slotsOf(input.model).length), this.speeds.get(input.model));
  }

  add(id: string, principal: string, to: string, deadline: number, input: Input): void {
    const account = this.accounts.enter(principal);
    const [arrival, arrivedAt, turn] = [this.arrivals++, this.now(), this.charges.turn()];
    const sequence = openSequence({ id, principal, account, to, input, deadline, arrival, arrivedAt, turn });
    this.sequences.set(id, sequence);
    this.waitingFor(input.model).add(sequence);
  }

  /** Forgets a sequence; returns where its KV lies, to be dropped there. */
  remove(id: string): { device: string; model: string } | undefined {
    const sequence = this.sequences.get(id);
    if (sequence === undefined) return undefined;
    const { device, parkedOn = device, input } = sequence;
    this.sequences.delete(id);
    this.waiting.get(input.model)?.delete(sequence);
    const slot = device === undefined ? undefined : this.slots.get(slotKey(device, input.model));
    if (slot?.ready.delete(sequence)) slot.leased -= blocksOf(sequence);
    this.charges.settle(sequence);
    this.accounts.leave(sequence.account);
    return parkedOn === undefined ? undefined : { device: parkedOn, model: input.model };
  }

  /** The next quantum for some device that has room for one, or undefined. Counts it as in flight. */
  next(): Handover | undefined {
    const policy = POLICY[this.name];
    for (const slot of [...this.slots.values()].sort((a, b) => a.inFlight.length - b.inFlight.length)) {
      if (slot.inFlight.length >= AHEAD) continue;
      const waiting = this.waiting.get(slot.model);
      if (slot.draining) continue;
      const slots = this.slotsOf(slot.model).filter(({ draining }) => !draining);
      if (slot.ready.size === 0 && !waiting?.first) this.takeOver(slots, slot);
      const parked = victims(slot, waiting?.first, policy);
      for (const victim of parked) this.park(victim, slot);
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
      this.waiting.get(idle.model)!.delete(sequence);
      bind(idle, sequence);
      idle.ready.add(sequence);
    }
  }

  private handover(slot: Slot, chosen: readonly Sequence[]): Omit<Handover, "park"> {
    const { device, epoch, model } = slot;
    const crowded = slot.ready.size > chosen.length || (this.waiting.get(model)?.size ?? 0) > 0;
    const cut = chosen.some(
      (one) => one.firstRunAt === undefined && slot.inFlight.some((flight) => hurries(one, flight)),
    );
    const quantum = `q${++this.quanta}`;
    const attempts = new Map(chosen.map((sequence) => [sequence.id, sequence.attempt]));
    slot.inFlight.push({ quantum, long: !crowded, attempts });
    const where = `${device}/${epoch}`;
    const move: Handover["move"] = [];
    const waited: number[] = [];
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
    const length = crowded ? LENGTH.crowded : LENGTH.alone;
    return {
      device,
      epoch,
      quantum: { quantum, model, ...length, tokenBudget: TOKEN_BUDGET, seqs },
      cut,
      waited,
      move,
    };
  }

  /** Devices where two quanta keep a newcomer waiting that should not have to. */
  held(id: string): string[] {
    const sequence = this.sequences.get(id)!;
    return this.slotsOf(sequence.input.model)
      .filter(({ inFlight }) => inFlight.length >= AHEAD && hurries(sequence, inFlight[0]!))
      .map(({ device }) => device);
  }

  /** Takes a report; returns what has ended. */
  report(deviceName: string, model: string, report: Report): End[] {
    const slot = this.slots.get(slotKey(deviceName, model));
    const missing = overtaken(slot, report.quantum);
    const flight = returned(slot, report.quantum);
    if (report.ms > 1 && report.computedTokens > 0) this.measure(model, slot, report);
    const ended: End[] = [];
    for (const part of report.seqs) {
      const sequence = this.sequences.get(part.seq);
      // Finished, cancelled or moved meanwhile.
      if (sequence === undefined || sequence.attempt !== flight?.attempts.get(part.seq)) continue;
      // Ids before these are not known, or the device has dropped it: it goes on from those that are.
      const broken = missing.some(({ attempts }) => attempts.get(part.seq) === sequence.attempt);
      if (broken || (part.finish === "unknown" && sequence.device !== undefined)) {
        this.evict(sequence, slot!);
        continue;
      }
      // Named in a quantum that came after it was put aside.
      if (part.finish === "unknown" || (sequence.device === undefined && part.finish === "error")) continue;
      sequence.newIds.push(...part.newIds);
      sequence.computed += part.computed;
      sequence.cached += part.cached;
      this.charges.correct(sequence, part.computed, slot);
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
    if (slot) slot.pace = slot.pace === undefined ? pace : 0.8 * slot.pace + 0.2 * pace;
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
    const { model } = sequence.input;
    return why(sequence, {
      policy: this.policy,
      slots: this.slotsOf(model),
      sequences: this.sequences.values(),
      speed: this.speeds.get(model),
      shares: this.accounts.values(),
    });
  }

  private slotsOf(model: string): Slot[] {
    return [...this.slots.values()].filter((slot) => slot.model === model);
  }
}
