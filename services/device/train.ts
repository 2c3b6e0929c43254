// Owns the start of a training run: memory check, one thread for each replica, progress out, stop and pause in.
import { once } from "node:events";
import os from "node:os";
import { MessageChannel } from "node:worker_threads";
import { Piscina } from "piscina";
import { SomaError, type WireError } from "../../kernel/abi/errors.ts";
import { parameterCount, resolveArchitecture } from "./engine/architecture.ts";
import { checkDataset } from "./engine/check.ts";
import { decodeDataset } from "./engine/dataset.ts";
import { Control, createShared } from "./engine/exchange.ts";
import { checkMemory } from "./engine/memory.ts";
import type { Progress, Stopped } from "./engine/run.ts";
import { parseSpec, type TrainSpecInput } from "./engine/spec.ts";
import type { TrainMessage, TrainResult, TrainTask } from "./engine/train.worker.ts";

export interface TrainOptions {
  /** Replicas; each gets its share of every batch. Default 1. */
  workers?: number;
  /** Resume from here. */
  checkpoint?: Uint8Array;
  onProgress?(progress: Progress): void;
  onCheckpoint?(bytes: Uint8Array, step: number): void;
  /** Ends the run after the current step: `onCheckpoint` is called, then the promise rejects with ECANCELED. */
  signal?: AbortSignal;
  /** Least ms between two progress reports; those at `evaluateEvery` steps, the first and the last always come. Default 250. */
  progressMs?: number;
  /** Bytes that the run may take. Default: what is free. */
  budgetBytes?: number;
}

export interface Trained {
  /** model.safetensors */
  weights: Uint8Array;
  metrics: Progress & { stopped: Stopped; seconds: number; workers: number; numerics: string; memoryBytes: number };
}

/** A run: its result, and the means to hold it between two steps. */
export type Training = Promise<Trained> & { pause(): void; resume(): void };

const worker = new URL("./engine/train.worker.ts", import.meta.url).href;
// A worker is TypeScript too, unless it was bundled with us. The loader's own path, because `tsx` would be looked for from the current folder.
const loader = worker.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [];

/**
 * Trains on `data` (from `encodeDataset`). A diverging run resolves with the last good weights, `metrics.stopped` and
 * `metrics.note` say so. Rejects with EINVAL (spec, data or checkpoint do not fit), ENOMEM (with figures), or ECANCELED.
 */
export function startTraining(spec: TrainSpecInput, data: Uint8Array, options: TrainOptions = {}): Training {
  let control: Control | undefined;
  let paused = false;
  const result = (async () => {
    const prepared = prepare(spec, data, options);
    control = new Control(prepared.shared);
    if (paused) control.pause();
    return await runWorkers(prepared, control, options);
  })();
  return Object.assign(result, {
    pause() {
      paused = true;
      control?.pause();
    },
    resume() {
      paused = false;
      control?.resume();
    },
  });
}

type Prepared = ReturnType<typeof prepare>;

function prepare(input: TrainSpecInput, data: Uint8Array, options: TrainOptions) {
  const spec = parseSpec(input);
  const workers = options.workers ?? 1;
  if (!(workers >= 1 && workers <= spec.batch)) {
    throw new SomaError("EINVAL", `${workers} workers cannot share a batch of ${spec.batch}: give 1 to ${spec.batch}`);
  }
  const dataset = decodeDataset(data);
  const { architecture, config } = resolveArchitecture(spec.architecture, spec.config);
  checkDataset(dataset, architecture, config);
  const memory = checkMemory(spec, dataset, workers, options.budgetBytes ?? os.freemem());
  const shared = createShared(workers, parameterCount(architecture.parameters(config)));
  const bytes = new Uint8Array(new SharedArrayBuffer(data.length));
  bytes.set(data);
  return { spec, workers, data: bytes, shared, memoryBytes: memory.total };
}

async function runWorkers(prepared: Prepared, control: Control, options: TrainOptions): Promise<Trained> {
  const { spec, workers, data, shared, memoryBytes } = prepared;
  const { signal, checkpoint, progressMs = 250 } = options;
  if (signal?.aborted) throw new SomaError("ECANCELED", "training was canceled before it began", { executed: "no" });
  const stop = () => control.stop();
  signal?.addEventListener("abort", stop, { once: true });
  const { port1, port2 } = new MessageChannel();
  port1.on("message", (message: TrainMessage) => {
    if ("progress" in message) options.onProgress?.(message.progress);
    else options.onCheckpoint?.(message.checkpoint, message.step);
  });
  const closed = once(port1, "close");
  const began = performance.now();
  // One pool of one thread for each replica: inside a pool there is no affinity, and replicas wait for each other.
  const pools = Array.from({ length: workers }, () => {
    // With atomics an idle worker blocks in Atomics.wait, and the port of its task never closes.
    return new Piscina({
      filename: worker,
      minThreads: 1,
      maxThreads: 1,
      atomics: "disabled",
      execArgv: loader,
    });
  });
  try {
    const runs = pools.map(async (pool, rank) => {
      const task: TrainTask = { spec, data, rank, shared, progressMs, ...(checkpoint && { checkpoint }) };
      if (rank === 0) task.port = port2;
      try {
        const answer: TrainResult | { error: WireError } = await pool.run(
          task,
          rank === 0 ? { transferList: [port2] } : {},
        );
        if ("error" in answer) throw SomaError.fromWire(answer.error);
        return answer;
      } catch (error) {
        control.abort();
        throw error;
      }
    });
    const [first] = await firstFailure(runs);
    // The result travels on another channel: what the worker posted before it closed the port may still be on the way.
    await closed;
    const { outcome, weights, numerics } = first!;
    if (outcome.stopped === "canceled")
      throw new SomaError(
        "ECANCELED",
        `training was canceled after step ${outcome.last.step}: resume from its checkpoint`,
      );
    const seconds = (performance.now() - began) / 1000;
    return {
      weights: weights!,
      metrics: { ...outcome.last, stopped: outcome.stopped, seconds, workers, numerics, memoryBytes },
    };
  } finally {
    signal?.removeEventListener("abort", stop);
    port1.close();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

/** All results; or the failure that came first, once every replica has ended: the others only report that it was aborted. */
async function firstFailure<T>(runs: Promise<T>[]): Promise<T[]> {
  let failure: { error: unknown } | undefined;
  const settled = await Promise.allSettled(
    runs.map((run) =>
      run.catch((error) => {
        failure ??= { error };
        throw error;
      }),
    ),
  );
  if (failure) throw failure.error;
  return settled.map((one) => (one as PromiseFulfilledResult<T>).value);
}
