// Owns what a kernel leaves to its successor, in the bucket `system`: who had which epoch and key, and which apps run.
import type { NatsBus } from "./ipc/bus.ts";
import { type Bucket, Kv } from "./ipc/store.ts";

export interface InstanceRecord {
  /** Grows with each registration, for ever. */
  epoch: number;
  /** Public key of the last identity; void once a successor is registered. */
  key?: string;
  /** Bootstrap user that was handed out and not used yet. */
  boot?: string;
  state: "starting" | "registered" | "ready" | "down";
}

export interface AppRecord {
  app: string;
  /** Who spawned it. */
  owner: string;
  detached: boolean;
  /** Unix ms. */
  startedAt: number;
}

export interface KernelRecord {
  epoch: number;
  key: string;
  personKey: string;
}

interface Kinds {
  instance: InstanceRecord;
  app: AppRecord;
  kernel: KernelRecord;
}

/** A copy in memory, written through. The kernel is the only writer, and a former kernel's key is void. */
export class Records {
  private readonly known = new Map<string, unknown>();

  private constructor(private readonly kv: Bucket<unknown>) {}

  static async open(bus: NatsBus): Promise<Records> {
    return Records.read(await Kv.open(bus, "system"));
  }

  static async read(kv: Bucket<unknown>): Promise<Records> {
    const records = new Records(kv);
    for (const { key, value } of await records.kv.entries()) records.known.set(key, value);
    return records;
  }

  get<K extends keyof Kinds>(kind: K, name: string): Kinds[K] | undefined {
    return this.known.get(`${kind}.${name}`) as Kinds[K] | undefined;
  }

  all<K extends keyof Kinds>(kind: K): [string, Kinds[K]][] {
    return [...this.known]
      .filter(([key]) => key.startsWith(`${kind}.`))
      .map(([key, value]) => [key.slice(kind.length + 1), value as Kinds[K]]);
  }

  /** Resolves once it is stored. */
  async put<K extends keyof Kinds>(kind: K, name: string, value: Kinds[K]): Promise<void> {
    this.known.set(`${kind}.${name}`, value);
    await this.kv.put(`${kind}.${name}`, value);
  }

  async del(kind: keyof Kinds, name: string): Promise<void> {
    this.known.delete(`${kind}.${name}`);
    await this.kv.del(`${kind}.${name}`);
  }
}
