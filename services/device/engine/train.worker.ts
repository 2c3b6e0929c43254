// Owns a training thread: what a Piscina worker runs for one replica.
import os from "node:os";
import type { MessagePort } from "node:worker_threads";
import { isSomaError, type WireError } from "../../../kernel/abi/errors.ts";
import { wasmBackend } from "./backend.ts";
import { decodeDataset } from "./dataset.ts";
import { Exchange, type Shared } from "./exchange.ts";
import { type Outcome, type Progress, runTraining } from "./run.ts";
import { Trainer } from "./trainer.ts";

export interface TrainTask {
  spec: unknown;
  /** An encoded dataset, in shared memory so that the workers need no copies. */
  data: Uint8Array;
  checkpoint?: Uint8Array;
  rank: number;
  shared: Shared;
  /** The first worker's way to report; `progressMs` is the least time between two reports that are not due. */
  port?: MessagePort;
  progressMs: number;
}

export type TrainMessage = { progress: Progress } | { checkpoint: Uint8Array; step: number };

export interface TrainResult {
  /** model.safetensors, from the first worker. */
  weights?: Uint8Array;
  outcome: Omit<Outcome, "weights">;
  numerics: string;
}

/** Trains until the end; a failure that is the caller's comes back as data, because threads strip errors of their fields. */
export default async function train(task: TrainTask): Promise<TrainResult | { error: WireError }> {
  // Leases, scheduler and shell share these cores: they go first. On Linux this is the thread's own priority.
  os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);
  const { spec, rank, shared, port, progressMs } = task;
  const exchange = new Exchange(rank, shared);
  // A step may take longer than people like to wait: a run that is paused rests between two operations.
  const backend = await wasmBackend(() => exchange.rest());
  let trainer: Trainer | undefined;
  let reported = Number.NEGATIVE_INFINITY;
  try {
    trainer = new Trainer(backend, spec, decodeDataset(task.data), task.checkpoint, exchange);
    const { weights, ...outcome } = runTraining(trainer, port !== undefined, {
      now: () => performance.now(),
      progress(progress, due) {
        if (!due && performance.now() - reported < progressMs) return;
        reported = performance.now();
        port?.postMessage({ progress } satisfies TrainMessage);
      },
      checkpoint(bytes, step) {
        port?.postMessage({ checkpoint: bytes, step } satisfies TrainMessage, [bytes.buffer as ArrayBuffer]);
      },
    });
    return { outcome, numerics: backend.numerics, ...(port && { weights: trainer.weights(weights) }) };
  } catch (error) {
    if (isSomaError(error)) return { error: error.toWire() };
    throw error;
  } finally {
    trainer?.dispose();
    port?.close();
  }
}
