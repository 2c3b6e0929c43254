// Owns the table of JetStream streams and buckets: who writes them, how large they get, how long they keep. The kernel makes them.
import type { Owner } from "./names.ts";

export interface Store {
  kind: "stream" | "kv" | "objects";
  /** The only writer. */
  owner: Owner;
  /** Others that may read. */
  readers: readonly Owner[];
  /** Subjects, for a stream. */
  subjects?: readonly string[];
  maxBytes: number;
  /** 0 keeps for ever. */
  maxAgeMs: number;
  /** Values kept per key, for kv. */
  history?: number;
  /** What a full store does: refuse the writer, or drop the oldest. */
  full: "refuse" | "drop";
  what: string;
}

const MB = 1024 * 1024;
const DAY = 24 * 3600_000;

export const STORES = {
  log: {
    kind: "stream",
    owner: "kernel",
    readers: [],
    subjects: ["evt.*.log"],
    maxBytes: 64 * MB,
    maxAgeMs: 7 * DAY,
    full: "drop",
    what: "log lines of every actor",
  },
  spans: {
    kind: "stream",
    owner: "kernel",
    readers: [],
    subjects: ["evt.*.spans"],
    maxBytes: 32 * MB,
    maxAgeMs: 2 * DAY,
    full: "drop",
    what: "traces of sampled, failed and slow calls",
  },
  events: {
    kind: "stream",
    owner: "kernel",
    readers: [],
    subjects: ["evt.kernel.down.>", "evt.kernel.life.>"],
    maxBytes: 16 * MB,
    maxAgeMs: 30 * DAY,
    full: "drop",
    what: "what started, died and was restarted",
  },
  system: {
    kind: "kv",
    owner: "kernel",
    readers: [],
    maxBytes: 16 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "epochs and the kernel's own records",
  },
  grants: {
    kind: "kv",
    owner: "auth",
    readers: ["kernel", "memory", "device", "scheduler", "model"],
    maxBytes: 64 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "who may do what",
  },
  apps: {
    kind: "kv",
    owner: "auth",
    readers: [],
    maxBytes: 16 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "apps, what they ask for and what was approved",
  },
  ledger: {
    kind: "kv",
    owner: "auth",
    readers: [],
    maxBytes: 64 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "budgets spent and leased",
  },
  data: {
    kind: "kv",
    owner: "memory",
    readers: [],
    maxBytes: 256 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "what apps remember, by namespace",
  },
  blobs: {
    kind: "objects",
    owner: "memory",
    readers: [],
    maxBytes: 16 * 1024 * MB,
    maxAgeMs: 0,
    full: "refuse",
    what: "large values by content hash",
  },
  models: {
    kind: "kv",
    owner: "model",
    readers: [],
    maxBytes: 64 * MB,
    maxAgeMs: 0,
    history: 5,
    full: "refuse",
    what: "model records and aliases",
  },
  datasets: {
    kind: "kv",
    owner: "model",
    readers: [],
    maxBytes: 16 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "data sets: their cards and shards",
  },
  jobs: {
    kind: "kv",
    owner: "model",
    readers: [],
    maxBytes: 64 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "jobs and their last state",
  },
  journal: {
    kind: "stream",
    owner: "model",
    readers: [],
    subjects: ["job.submit.>"],
    maxBytes: 256 * MB,
    maxAgeMs: 30 * DAY,
    full: "refuse",
    what: "submitted work, before it is acknowledged",
  },
  clock: {
    kind: "kv",
    owner: "scheduler",
    readers: [],
    maxBytes: 4 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "virtual time of each principal",
  },
  parts: {
    kind: "kv",
    owner: "scheduler",
    readers: [],
    maxBytes: 1 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "how each device is cut into parts",
  },
  slices: {
    kind: "kv",
    owner: "scheduler",
    readers: [],
    maxBytes: 4 * MB,
    maxAgeMs: 0,
    history: 1,
    full: "refuse",
    what: "what may be in use of leased budgets, should the scheduler die",
  },
  audit: {
    kind: "stream",
    owner: "kernel",
    readers: ["auth"],
    subjects: ["audit.>"],
    maxBytes: 512 * MB,
    maxAgeMs: 90 * DAY,
    full: "drop",
    what: "outcomes of syscalls, hash-chained",
  },
  heads: {
    kind: "kv",
    owner: "auth",
    readers: ["kernel"],
    maxBytes: 16 * MB,
    // A little longer than what they vouch for.
    maxAgeMs: 91 * DAY,
    history: 1,
    full: "refuse",
    what: "the last record of each chain of the audit, signed",
  },
} as const satisfies Record<string, Store>;

export type StoreName = keyof typeof STORES;

/** The JetStream name of a store. */
export function streamName(store: StoreName): string {
  const { kind } = STORES[store];
  return kind === "kv" ? `KV_${store}` : kind === "objects" ? `OBJ_${store}` : store.toUpperCase();
}
