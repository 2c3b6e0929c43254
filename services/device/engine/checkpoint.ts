// Owns the checkpoint: a safetensors file with weights, moments and, in its metadata, the place in the run.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Parameter } from "./architecture.ts";
import type { EpochsState } from "./epochs.ts";
import { readFloats, readHeader, type Writable, writeSafetensors } from "./safetensors.ts";
import type { TrainSpec } from "./spec.ts";

type Values = Map<string, Float32Array>;

export interface Checkpoint {
  spec: TrainSpec;
  /** Steps done. */
  step: number;
  epochs: EpochsState;
  weights: Values;
  moments: Record<string, Values>;
  /** Early stopping: the best weights so far, their validation loss, and evaluations since. */
  best?: { loss: number; step: number; since: number; weights: Values };
}

const format = "soma.checkpoint";

export function writeCheckpoint(parameters: readonly Parameter[], checkpoint: Checkpoint): Uint8Array {
  const { spec, step, epochs, weights, moments, best } = checkpoint;
  const groups: [string, Values][] = [["weight", weights], ...Object.entries(moments)];
  if (best) groups.push(["best", best.weights]);
  const tensors = groups.flatMap(([group, values]) => {
    return parameters.map(({ name, shape }): [string, Writable] => [
      `${group}/${name}`,
      { shape, data: values.get(name)! },
    ]);
  });
  const place = { spec, step, epochs, best: best && { loss: best.loss, step: best.step, since: best.since } };
  return writeSafetensors(tensors, { format, place: JSON.stringify(place) });
}

/** Throws EINVAL if the bytes are no checkpoint, or one of another model or optimiser. */
export function readCheckpoint(
  bytes: Uint8Array,
  parameters: readonly Parameter[],
  moments: readonly string[],
): Checkpoint {
  const { entries, metadata } = readHeader(bytes);
  if (metadata.format !== format) throw new SomaError("EINVAL", "not a Soma checkpoint: start without one");
  const { best, ...place } = JSON.parse(metadata.place!);
  const group = (prefix: string): Values => {
    return new Map(
      parameters.map(({ name, shape }) => {
        const entry = entries.get(`${prefix}/${name}`);
        if (entry?.shape.join() !== shape.join()) {
          const found = entry ? `has shape [${entry.shape}]` : "is missing";
          throw new SomaError(
            "EINVAL",
            `the checkpoint is of another model: ${prefix} of ${name} ${found}, [${shape}] is needed`,
          );
        }
        return [name, readFloats(bytes, entry, name)];
      }),
    );
  };
  return {
    ...place,
    weights: group("weight"),
    moments: Object.fromEntries(moments.map((moment) => [moment, group(moment)])),
    ...(best && { best: { ...best, weights: group("best") } }),
  };
}
