// Owns the boot table: which services run, from which program, and what supervision does about each. Order is boot order.
import { readFileSync } from "node:fs";
import { z } from "zod";
import { LIMITS } from "./abi/limits.ts";
import { instanceName, MOST_INSTANCES, SERVICES } from "./abi/names.ts";

const row = z.object({
  service: z.enum(SERVICES),
  /** Path of the program, from the repository's root or absolute. */
  entry: z.string(),
  /** How many of it run. */
  instances: z.number().int().positive().default(1),
  /** `container`: launchers in containers of their own run it, as many as there are up to `most`; others stand by. */
  place: z.enum(["here", "container"]).default("here"),
  most: z.number().int().positive().max(MOST_INSTANCES).default(1),
  /** `permanent` comes back always, `transient` unless it ended by itself with code 0, `temporary` never. */
  restart: z.enum(["permanent", "transient", "temporary"]).default("permanent"),
  /** The system is nothing without it: when it cannot be kept up, the system ends with code 1. */
  core: z.boolean().default(false),
  /** More than `intensity` restarts within `period` ms are too many. */
  intensity: z.number().int().nonnegative().default(LIMITS.intensity),
  period: z.number().positive().default(LIMITS.period),
  /** ms from start to ready, and from TERM to KILL. */
  startTimeout: z.number().positive().default(LIMITS.startTimeout),
  shutdown: z.number().nonnegative().default(LIMITS.shutdown),
  /** ms until a quarantined one is tried again. */
  probe: z.number().positive().default(LIMITS.probe),
  /** Added to its niceness: bulk work must not delay leases, scheduler and shell. */
  nice: z.number().int().min(0).max(19).default(0),
  /** Limit of V8's heap; tensors are outside of it. */
  memoryMb: z.number().positive().optional(),
});
export type ChildSpec = z.output<typeof row>;

/** Who answers for identities comes first; then each that a later one calls while it starts. */
const MANIFEST: z.input<typeof row>[] = [
  { service: "auth", entry: "services/auth/main.ts", core: true },
  { service: "memory", entry: "services/memory/main.ts" },
  { service: "device", entry: "services/device/main.ts", startTimeout: 60_000, nice: 5 },
  { service: "scheduler", entry: "services/scheduler/main.ts" },
  { service: "model", entry: "services/model/main.ts" },
];

/** The table, or the one that a JSON file of the same shape gives instead. Throws when that is malformed. */
export function loadManifest(path?: string): ChildSpec[] {
  return z.array(row).parse(path ? JSON.parse(readFileSync(path, "utf8")) : MANIFEST);
}

/** [instance name, what it is] of each child, in boot order. */
export function childrenOf(manifest: readonly ChildSpec[]): [string, ChildSpec][] {
  return manifest.flatMap((spec) =>
    Array.from({ length: spec.instances }, (_, i): [string, ChildSpec] => [instanceName(spec.service, i + 1), spec]),
  );
}
