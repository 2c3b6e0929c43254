// Owns the training data of networks over vectors: MessagePack of {features, targets, shape}, or random numbers.
import { decode } from "@msgpack/msgpack";
import { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Split, VectorSplit } from "./dataset.ts";
import { seededRandom } from "./text/random.ts";

const size = z.number().int().positive().max(10_000_000);
const numbers = z.union([z.array(z.number()), z.instanceof(Uint8Array)]);
const form = z.strictObject({
  /** Row-major, [rows, width]: numbers, or their bytes as little-endian f32. */
  features: numbers,
  /** [rows] class numbers, or [rows, outputs] values. */
  targets: numbers,
  shape: z.strictObject({ rows: size, width: size, outputs: size, classes: z.boolean().default(true) }),
});

export interface Vectors {
  width: number;
  outputs: number;
  rows: number;
  splits: Record<Split, VectorSplit>;
}

/** Every tenth row of 20 or more validates, the rest is trained on. EINVAL says what is wrong. */
export function readVectors(bytes: Uint8Array): Vectors {
  let value: unknown;
  try {
    value = decode(bytes);
  } catch (cause) {
    throw new SomaError("EINVAL", "the data is not MessagePack: send {features, targets, shape}", {
      cause,
    });
  }
  const parsed = form.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new SomaError(
      "EINVAL",
      `the data must be {features, targets, shape}: ${issue?.path.join(".")}: ${issue?.message}`,
    );
  }
  return given(parsed.data);
}

/** Normal features and uniform classes: there is nothing to learn but by heart, so all rows are trained on. */
export function randomVectors(rows: number, width: number, classes: number, seed: number): Vectors {
  const random = seededRandom(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const features = Float32Array.from({ length: rows * width }, normal);
  const labels = Int32Array.from({ length: rows }, () => Math.floor(random() * classes));
  const none = { features: new Float32Array(), labels: new Int32Array() };
  return { width, outputs: classes, rows, splits: { train: { features, labels }, validation: none, test: none } };
}

function given({ features, targets, shape }: z.output<typeof form>): Vectors {
  const { rows, width, outputs, classes } = shape;
  const inputs = floats(features, rows * width, "features");
  const answers = floats(targets, classes ? rows : rows * outputs, "targets");
  if (classes && !answers.every((label) => Number.isInteger(label) && label >= 0 && label < outputs)) {
    throw new SomaError("EINVAL", `targets must be class numbers from 0 to ${outputs - 1}`);
  }
  const of = (keep: (row: number) => boolean): VectorSplit => {
    const chosen = Array.from({ length: rows }, (_, row) => row).filter(keep);
    const pick = (from: Float32Array, columns: number) =>
      Float32Array.from({ length: chosen.length * columns }, (_, i) => {
        const row = chosen[Math.floor(i / columns)]!;
        return from[row * columns + (i % columns)]!;
      });
    const part = { features: pick(inputs, width) };
    return classes
      ? { ...part, labels: Int32Array.from(pick(answers, 1)) }
      : { ...part, targets: pick(answers, outputs) };
  };
  const held = (row: number) => rows >= 20 && row % 10 === 9;
  const splits = { train: of((row) => !held(row)), validation: of(held), test: of(() => false) };
  return { width, outputs, rows, splits };
}

function floats(values: number[] | Uint8Array, length: number, what: string): Float32Array {
  if (values instanceof Uint8Array && values.length % 4 !== 0)
    throw new SomaError("EINVAL", `${what} is not whole f32s`);
  // A copy: the bytes need not lie at a multiple of 4.
  const all = values instanceof Uint8Array ? new Float32Array(values.slice().buffer) : Float32Array.from(values);
  if (all.length !== length)
    throw new SomaError("EINVAL", `${what} has ${all.length} numbers, its shape says ${length}`);
  return all;
}
