// Owns how one device is cut into parts (virtual devices), and by which virtual time they take turns on it. Pure.
import { SomaError } from "../../kernel/abi/errors.ts";

/** What a part is to get, each from 0 to 1: of the device's time while others want it too, and of each model's KV blocks. */
export interface Cut {
  name: string;
  share: number;
  memory: number;
}

/** A device that is not split is one part without a name. */
export interface Part extends Cut {
  /** Device ms / share, those expected of quanta in flight included: who has least gets the next quantum. */
  virtual: number;
  /** Measured since it is there: ms of the device, and of the CPUs meanwhile. */
  usedMs: number;
  cpuMs: number;
  /** ms of one of its quanta, smoothed. */
  quantumMs: number;
}

/** What a quantum in flight was charged in advance. */
export interface Charged {
  part: Part;
  virtual: number;
}

const WHOLE: Cut = { name: "", share: 1, memory: 1 };
/** A first guess at what a quantum takes, ms. */
const GUESS_MS = 50;
/** Whose requests end together wants nothing until the next ones come: so much virtual time it may have to its credit then, ms. */
const CREDIT_MS = 500;

/**
 * Start-time fair queueing between the parts of a device, in device time as measured. Two parts that both always want
 * something are never further apart than what their shares give by more than the quanta in flight.
 */
export class Division {
  parts: readonly Part[] = [openPart(WHOLE, 0)];

  get split(): boolean {
    return this.parts[0]!.name !== WHOLE.name;
  }

  /** Cuts the device, or cuts it anew: parts that keep their name keep what they had, and only change their size. EINVAL. */
  cut(wanted: readonly Cut[]): void {
    check(wanted);
    const before = new Map(this.parts.map((part) => [part.name, part]));
    const kept = wanted.flatMap(({ name }) => before.get(name)?.virtual ?? []);
    // A new one joins where the least served is.
    const join = kept.length === 0 ? 0 : Math.min(...kept);
    this.parts = wanted.map((cut) => {
      const known = before.get(cut.name);
      return known === undefined ? openPart(cut, join) : Object.assign(known, cut);
    });
  }

  merge(): void {
    this.parts = [openPart(WHOLE, 0)];
  }

  /** A quantum of a part is handed over. Parts that want nothing now save up no more of what they leave to others than CREDIT_MS. */
  hand(part: Part, wants: (other: Part) => boolean): Charged {
    for (const other of this.parts)
      if (other !== part && !wants(other)) other.virtual = Math.max(other.virtual, part.virtual - CREDIT_MS);
    const virtual = part.quantumMs / part.share;
    part.virtual += virtual;
    return { part, virtual };
  }

  /** It is back: what it took replaces what was expected; 0 when it was lost. */
  settle({ part, virtual }: Charged, ms: number, cpuMs = 0): void {
    part.virtual += ms / part.share - virtual;
    part.usedMs += ms;
    part.cpuMs += cpuMs;
    if (ms > 0) part.quantumMs = 0.8 * part.quantumMs + 0.2 * ms;
  }
}

/** `cpu0` is another name of `device-1`, and so on. */
export function physical(name: string): string {
  const [, number] = /^cpu(\d+)$/.exec(name) ?? [];
  return number === undefined ? name : `device-${Number(number) + 1}`;
}

/** What a part is called among all devices. */
export function partName(device: string, { name }: Pick<Part, "name">): string {
  return name === WHOLE.name ? device : `${device}/${name}`;
}

function openPart(cut: Cut, virtual: number): Part {
  return { ...cut, virtual, usedMs: 0, cpuMs: 0, quantumMs: GUESS_MS };
}

function check(wanted: readonly Cut[]): void {
  const percent = (key: "share" | "memory") => Math.round(1_000 * wanted.reduce((sum, cut) => sum + cut[key], 0)) / 10;
  const names = new Set(wanted.map(({ name }) => name));
  const system = [...names].find((name) => /^(cpu|device-)\d+$/.test(name));
  if (system !== undefined) throw new SomaError("EINVAL", `"${system}" is a whole device's name: choose another one`);
  if (names.size < wanted.length) throw new SomaError("EINVAL", "two parts have the same name: choose another one");
  if (percent("share") !== 100)
    throw new SomaError("EINVAL", `shares add up to ${percent("share")}%: make them 100%, such as a=70% b=30%`);
  if (percent("memory") > 100)
    throw new SomaError("EINVAL", `memory adds up to ${percent("memory")}%: give out 100% at most`);
}
