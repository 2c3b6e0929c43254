// Owns the record of a run in Jepsen's words: each operation is invoked, then ok, failed (surely not executed), or in doubt (info).
import type { SomaError } from "../../kernel/abi/errors.ts";

export type Outcome = "ok" | "fail" | "info";

export interface Operation {
  name: string;
  by: string;
  /** performance.now() */
  invokedAt: number;
  endedAt?: number;
  outcome?: Outcome;
  error?: SomaError;
  deadline: number;
}

/** A caller's own side ends a request at the latest this long after its deadline; the rest is our own event loop's. */
const GRACE_MS = 100;

export class History {
  readonly operations: Operation[] = [];

  /** Runs one and records it; the value, or undefined when it failed or is in doubt. Throws what is no coded error: a bug. */
  async run<T>(name: string, by: string, ttl: number, work: () => Promise<T>): Promise<T | undefined> {
    const operation: Operation = { name, by, invokedAt: performance.now(), deadline: ttl };
    this.operations.push(operation);
    try {
      const value = await work();
      operation.outcome = "ok";
      return value;
    } catch (error) {
      const coded = error as SomaError;
      if (typeof coded.code !== "string") throw error;
      operation.outcome = coded.executed === "no" ? "fail" : "info";
      operation.error = coded;
      return undefined;
    } finally {
      operation.endedAt = performance.now();
    }
  }

  since(at: number): Operation[] {
    return this.operations.filter(({ invokedAt }) => invokedAt >= at);
  }

  /** Of operations that were under way at `at`, those that ended without an answer: how long after it they knew, ms. */
  learned(at: number, until: number): number[] {
    return this.operations
      .filter(
        ({ invokedAt, endedAt, error }) =>
          invokedAt < at && endedAt !== undefined && endedAt >= at && endedAt < until && error?.code === "ESERVICEDOWN",
      )
      .map(({ endedAt }) => endedAt! - at);
  }

  /** Invariant: each ends, by its deadline and a little. Names those that did not. */
  late(lagMs: number): string[] {
    return this.operations
      .filter(
        ({ invokedAt, endedAt, deadline }) =>
          (endedAt ?? Number.POSITIVE_INFINITY) - invokedAt > deadline + GRACE_MS + lagMs,
      )
      .map(
        ({ name, by, invokedAt, endedAt }) =>
          `${by} ${name} ${endedAt === undefined ? "never ended" : `${Math.round(endedAt - invokedAt)} ms`}`,
      );
  }

  count(outcome: Outcome, from = 0): number {
    return this.operations.filter((operation) => operation.outcome === outcome && operation.invokedAt >= from).length;
  }

  /** Latencies of what succeeded. */
  latencies(from: number, holds: (operation: Operation) => boolean = () => true): number[] {
    return this.since(from)
      .filter((operation) => operation.outcome === "ok" && holds(operation))
      .map(({ invokedAt, endedAt }) => endedAt! - invokedAt);
  }

  /** Codes of what went wrong, with how often. */
  codes(from = 0): string {
    const counts = new Map<string, number>();
    for (const { error } of this.since(from)) if (error) counts.set(error.code, (counts.get(error.code) ?? 0) + 1);
    return [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
  }
}
