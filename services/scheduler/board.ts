// Owns the board: sequences that wait or run, devices that have their models, and which sequences make the next quantum. No I/O.
import { Accounts } from "./accounts.ts";
import { Charges } from "./charges.ts";
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
  rest,
  type Sequence,
} from "./sequence.ts";
import { hurries, openSlot, type Placement, returned, type Slot, slotKey } from "./slot.ts";
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
  /** Tokens computed per ms by model, smoothed. */
  private readonly speed = new Map<string, number>();

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
    this.park(sequence, slot);
    sequence.parkedOn = undefined;
    sequence.attempt += 1;
  }

  /** It gives its room up: it goes on later, here or elsewhere. What its quanta in flight still report counts until then. */
  private park(sequence: Sequence, slot: Slot): void {
    slot.ready.delete(sequence);
    slot.leased -= blocksOf(sequence);
    this.charges.settle(sequence);
    sequence.parkedOn = slot.device;
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
      const parked = victims(slot, waiting?.first, policy);
      for (const victim of parked) this.park(victim, slot);
      const chosen = choose(slot, waiting, policy, this.charges);
      if (chosen.length > 0) return { ...this.handover(slot, chosen), park: parked.map(({ id }) => id) };
    }
    return undefined;
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
    const seqs = chosen.map((sequence) => {
      sequence.firstRunAt ??= this.now();
      const one = named(sequence, where);
      sequence.startedOn = where;
      const { id: seq, parkedOn } = sequence;
      if (parkedOn !== undefined && parkedOn !== device) move.push({ device: parkedOn, seq });
      sequence.parkedOn = undefined;
      return one;
    });
    const length = crowded ? LENGTH.crowded : LENGTH.alone;
    return { device, epoch, quantum: { quantum, model, ...length, tokenBudget: TOKEN_BUDGET, seqs }, cut, move };
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
    const flight = returned(slot, report.quantum);
    if (report.ms > 1 && report.computedTokens > 0) {
      const measured = report.computedTokens / report.ms;
      this.speed.set(model, 0.8 * (this.speed.get(model) ?? measured) + 0.2 * measured);
    }
    const ended: End[] = [];
    for (const part of report.seqs) {
      const sequence = this.sequences.get(part.seq);
      // Finished, cancelled or moved meanwhile.
      if (sequence === undefined || sequence.attempt !== flight?.attempts.get(part.seq)) continue;
      // Named in a quantum that came after it was put aside.
      if (sequence.device === undefined && part.finish === "error") continue;
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
      speed: this.speed.get(model),
    });
  }

  private slotsOf(model: string): Slot[] {
    return [...this.slots.values()].filter((slot) => slot.model === model);
  }
}
