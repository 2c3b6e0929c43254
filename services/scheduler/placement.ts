// Owns what the scheduler knows of devices: which models are resident, how many KV blocks are set aside, what runs.
import type { Policy } from "./policies.ts";
import { Queue } from "./queue.ts";
import type { Sequence } from "./sequence.ts";
import { type Speed, UNKNOWN } from "./speed.ts";

export interface Resident {
  device: string;
  epoch: number;
  model: string;
  blocks: number;
  blockBytes: number;
  context: number;
  numerics: string;
}

/** A model on a device. */
export interface Placement extends Resident {
  host: Device;
  /** Set aside for sequences that are ready. */
  leased: number;
  /** Without KV blocks yet. */
  waiting: Queue<Sequence>;
  /** With blocks, in a quantum or not. */
  ready: Queue<Sequence>;
  speed: Speed;
  /** Tokens that its sequences want at most. */
  backlog: number;
}

export interface Quantum {
  id: string;
  placement: Placement;
  sequences: Sequence[];
  maxMs: number;
  /** When it was handed over; when it began, as far as reports tell. */
  sentAt: number;
  startedAt: number | undefined;
}

export interface Device {
  device: string;
  epoch: number;
  models: Map<string, Placement>;
  running: Quantum | undefined;
  next: Quantum | undefined;
  /** Somebody came while the next quantum was handed over already. */
  nudged: boolean;
  /** Cancels the timer that hands the next quantum over. */
  timer: (() => void) | undefined;
}

export function newDevice(device: string, epoch: number): Device {
  return { device, epoch, models: new Map(), running: undefined, next: undefined, nudged: false, timer: undefined };
}

export function newPlacement(resident: Resident, host: Device, policy: Policy): Placement {
  const queue = () => new Queue<Sequence>(policy);
  return { ...resident, host, leased: 0, waiting: queue(), ready: queue(), speed: UNKNOWN, backlog: 0 };
}

export function free({ blocks, leased }: Placement): number {
  return blocks - leased;
}
