// Owns which slots there are: one for each model on each part of each device, and whose turn it is. No I/O.
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { scheduler } from "../../kernel/abi/syscalls/scheduler.ts";
import { type Cut, Division, type Part, partName, physical } from "./parts.ts";
import type { Policy } from "./policies.ts";
import { AHEAD } from "./quanta.ts";
import type { Sequence } from "./sequence.ts";
import { openSlot, type Placement, placed, type Slot } from "./slot.ts";

type PartRow = z.output<typeof scheduler.parts.output>["parts"][number];

export class Slots {
  private readonly slots = new Set<Slot>();
  /** By device; they outlive the device's absence. */
  private readonly divisions = new Map<string, Division>();

  [Symbol.iterator](): IterableIterator<Slot> {
    return this.slots.values();
  }

  of(model: string): Slot[] {
    return [...this.slots].filter((slot) => slot.model === model);
  }

  on(device: string, model?: string): Slot[] {
    return [...this.slots].filter((slot) => slot.device === device && (model === undefined || slot.model === model));
  }

  /** The slot that a sequence is bound to. */
  holding({ device, part, input }: Sequence): Slot | undefined {
    if (device === undefined) return undefined;
    for (const slot of this.slots)
      if (slot.device === device && slot.model === input.model && slot.part.name === part) return slot;
    return undefined;
  }

  division(device: string): Division {
    let division = this.divisions.get(device);
    if (division === undefined) this.divisions.set(device, (division = new Division()));
    return division;
  }

  /** Opens a slot on each part of the device. */
  open(placement: Placement, policy: Policy): void {
    const inFlight: Slot["inFlight"] = [];
    for (const part of this.division(placement.device).parts)
      this.slots.add(openSlot(placement, part, inFlight, policy));
  }

  /** It is gone, with what was in flight there. */
  close(slot: Slot): void {
    this.slots.delete(slot);
    for (const { charged } of slot.inFlight.splice(0)) this.division(slot.device).settle(charged, 0);
  }

  /** Cuts a device anew, or into one with no parts given. Returns slots of parts that are gone; their quanta in flight stay. EINVAL. */
  cut(device: string, parts: readonly Cut[], policy: Policy): Slot[] {
    const division = this.division(device);
    if (parts.length === 0) division.merge();
    else division.cut(parts);
    const gone: Slot[] = [];
    for (const model of new Set(this.on(device).map(({ model }) => model))) {
      const before = this.on(device, model);
      const [first] = before;
      for (const slot of before) {
        if (division.parts.includes(slot.part)) Object.assign(slot, placed(whole(slot), slot.part));
        else {
          this.slots.delete(slot);
          gone.push(slot);
        }
      }
      for (const part of division.parts) {
        if (before.some((slot) => slot.part === part)) continue;
        const slot = openSlot(whole(first!), part, first!.inFlight, policy);
        this.slots.add(Object.assign(slot, { pace: first!.pace, draining: first!.draining }));
      }
    }
    return gone;
  }

  /** Slots in the order in which they get quanta: of the device with least in flight first; there, by the parts' virtual times. */
  turns(): Slot[] {
    const busy = new Map<string, number>();
    for (const { device } of this.slots) if (!busy.has(device)) busy.set(device, this.flying(device));
    return [...this.slots].sort(
      (a, b) =>
        busy.get(a.device)! - busy.get(b.device)! ||
        (a.device === b.device ? 0 : a.device < b.device ? -1 : 1) ||
        a.part.virtual - b.part.virtual ||
        a.inFlight.length - b.inFlight.length,
    );
  }

  /**
   * Whether it may be handed another quantum. A device that is split takes no more of all parts and models together than
   * keep it busy: the order in which it runs them must be that of the turns.
   */
  hasRoom({ device, inFlight }: Slot): boolean {
    return inFlight.length < AHEAD && (!this.division(device).split || this.flying(device) < AHEAD);
  }

  /** Quanta in flight to a device, of all models. */
  private flying(device: string): number {
    const lanes = new Set(this.on(device).map(({ inFlight }) => inFlight));
    return [...lanes].reduce((sum, flights) => sum + flights.length, 0);
  }

  /** Devices and their parts, as far as anybody has told of them. */
  private *parts(): Iterable<{ device: string; part: Part }> {
    for (const device of this.devices()) for (const part of this.division(device).parts) yield { device, part };
  }

  /** What each part is due and got. */
  rows(): PartRow[] {
    return [...this.parts()].map(({ device, part }) => {
      const slots = this.on(device).filter((slot) => slot.part === part);
      const sum = (of: (slot: Slot) => number) => slots.reduce((total, slot) => total + of(slot), 0);
      const { name, share, memory, usedMs, cpuMs } = part;
      const [blocks, leased, sequences] = [sum((s) => s.blocks), sum((s) => s.leased), sum((s) => s.ready.size)];
      return { device, part: name, share, memory, blocks, leased, sequences, usedMs, cpuMs };
    });
  }

  private devices(): Set<string> {
    return new Set([...[...this.slots].map(({ device }) => device), ...this.divisions.keys()]);
  }

  /** The full name of a device or a part, for one of its names: `cpu0`, `device-1`, `a`, `cpu0/a`. ENOENT, EINVAL. */
  resolve(name: string): string {
    const [device = "", part] = name.split("/");
    const full = part === undefined ? physical(device) : `${physical(device)}/${part}`;
    if (this.devices().has(full)) return full;
    const found = [...this.parts()].filter((one) => part === undefined && one.part.name === name);
    if (found.length > 1) throw new SomaError("EINVAL", `several devices have a part "${name}": say cpu0/${name}`);
    const names = new Set([...this.parts()].map((one) => partName(one.device, one.part)));
    if (found.length === 1) return partName(found[0]!.device, found[0]!.part);
    if (part !== undefined && names.has(full)) return full;
    throw new SomaError("ENOENT", `there is no device "${name}": see "soma device ls"`);
  }
}

/** What its device said of its model. */
function whole({ device, epoch, model, deviceBlocks, blockBytes, context, numerics }: Slot): Placement {
  return { device, epoch, model, blocks: deviceBlocks, blockBytes, context, numerics };
}
