// Owns what is known of a model version: how it was made, from what, how well it does. Plain data, stored in KV and in record.json.
import type { Templates } from "./text/templates.ts";

export interface LossPoint {
  step: number;
  loss: number;
  validationLoss?: number;
}

export interface Evaluation {
  cases: number;
  /** Share of outputs that are the reference, 0..1. */
  exactMatch: number;
  /** chrF2, 0..100. */
  chrf: number;
  /** Mean negative log-probability per target token, natural logarithm. */
  loss: number;
}

export interface ModelRecord {
  name: string;
  version: number;
  architecture: string;
  parameters: number;
  /** Size and SHA-256 of model.safetensors. */
  bytes: number;
  sha256: string;
  config: Record<string, unknown>;
  /** How requests become ids; absent for architectures without text. */
  templates?: Templates;
  /** Ids that end an answer. */
  stopIds?: number[];
  /** SHA-256 of the training data. */
  dataHash?: string;
  /** `data:NAME@HASH`, where it was a data set. */
  data?: string;
  hyper?: Record<string, unknown>;
  seed?: number;
  /** Loss over the training, thinned. */
  curve: LossPoint[];
  /** By split; `handwritten` is a part of the training data and says how much was memorised. */
  eval: Record<string, Evaluation>;
  /** The job that made it: a job that is run again after a crash finds its model. */
  job?: string;
  /** `name@version` that it was trained from, or the folder that it came from. */
  parent?: string;
  createdAt: number;
  /** Version of Soma that made it. */
  code: string;
  /** What a reader must know: what was memorised, what was held out, what did not fit. */
  note: string;
}

/** Which version, and how its weights are kept. */
export interface Pointer {
  name: string;
  version: number;
  dtype: "f32" | "int8" | "int4";
}

export interface Canary extends Pointer {
  /** Of all requests, 0..1. */
  share: number;
  /** All requests of these. */
  apps: string[];
  since: number;
  rule: { requests: number; failures: number; slower: number; promoteAfter?: number | undefined };
}

export interface Alias extends Pointer {
  /** Where a rollback goes. */
  previous?: Pointer;
  canary?: Canary;
  /** The last thing that was done to it. */
  last?: { what: string; why: string; at: number };
}

/** `name@version`, as messages and commands show it. */
export function versionText({ name, version }: { name: string; version: number }): string {
  return `${name}@${version}`;
}

/** At most `most` points, evenly spread, first and last kept: a record stays small however long the training was. */
export function thin(points: readonly LossPoint[], most = 200): LossPoint[] {
  if (points.length <= most) return [...points];
  return Array.from({ length: most }, (_, i) => points[Math.round((i * (points.length - 1)) / (most - 1))]!);
}
