// Owns one training run from the blob of its data to the blob of its weights, with progress and checkpoints on the way.
import { randomUUID } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import type { CallOptions, Client } from "../../kernel/ipc/client.ts";
import type { Progress as Step } from "./engine/run.ts";
import type { TrainSpecInput } from "./engine/spec.ts";
import type { Hold } from "./hold.ts";
import type { TrainInput, TrainOutput } from "./job.ts";
import { startTraining } from "./train.ts";

/** `checkpoint` is a blob that the run can be resumed from, of this step or, while it was stored, one before: steps never go back. */
export type Progress = Step & { checkpoint?: string };

export interface TrainingOptions {
  client: Client;
  /** Whose blobs these are, and under which trace they are read and written. */
  as: Pick<CallOptions, "for" | "traceparent">;
  budgetBytes: number;
  signal: AbortSignal;
  hold: Pick<Hold, "add">;
  progress: (progress: Progress) => void;
}

/** Errors: EINVAL (spec, data), ENOENT (blobs), ENOMEM with figures, ECANCELED after the last checkpoint was stored. */
export async function train(input: TrainInput, options: TrainingOptions): Promise<TrainOutput> {
  const { client, as, signal } = options;
  const data = await download(client, input.data, as);
  const checkpoint = input.checkpoint === undefined ? undefined : await download(client, input.checkpoint, as);
  let last: Step | undefined;
  // One after another, so that the last one stored is the last one made.
  let storing = Promise.resolve();
  const training = startTraining(input.spec as TrainSpecInput, data, {
    ...(input.workers === undefined ? {} : { workers: input.workers }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    budgetBytes: options.budgetBytes,
    signal,
    onProgress: (progress) => {
      last = progress;
      options.progress(progress);
    },
    onCheckpoint: (bytes) => {
      storing = storing.then(async () => {
        const blob = await upload(client, bytes, as);
        if (last) options.progress({ ...last, checkpoint: blob });
      });
      // Awaited below; until then a failure must not count as unhandled.
      storing.catch(() => {});
    },
  });
  const free = options.hold.add(training);
  signal.addEventListener("abort", free, { once: true });
  try {
    const { weights, metrics } = await training;
    const { step, loss, validationLoss, stopped } = metrics;
    return {
      weights: await upload(client, weights, as),
      bytes: weights.length,
      steps: step,
      loss,
      ...(validationLoss === undefined ? {} : { validationLoss }),
      stopped,
    };
  } finally {
    free();
    await storing;
  }
}

async function download(client: Client, blob: string, as: CallOptions): Promise<Uint8Array> {
  const stream = client.stream("memory.read", { blob }, as);
  const pieces: Uint8Array[] = [];
  for await (const { data } of stream) pieces.push(data);
  const { size } = await stream.result;
  const bytes = Buffer.concat(pieces);
  if (bytes.length !== size) throw new SomaError("EIO", `${blob} has ${size} bytes, ${bytes.length} came: try again`);
  return bytes;
}

async function upload(client: Client, bytes: Uint8Array, as: CallOptions): Promise<string> {
  const stream = client.stream("memory.write", { size: bytes.length }, { ...as, key: randomUUID() });
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += LIMITS.chunk) yield bytes.subarray(at, at + LIMITS.chunk);
  };
  await stream.upload(pieces());
  return (await stream.result).blob;
}
