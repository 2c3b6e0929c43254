// Owns the tests of steps that are given up: between any two parts of the program, and nothing is different afterwards.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Sample } from "../../../../../services/device/drivers/driver.ts";
import { control, layOut } from "../../../../../services/device/drivers/wasm/layout.ts";
import { reserve } from "../../../../../services/device/drivers/wasm/memory.ts";
import { writePrograms } from "../../../../../services/device/drivers/wasm/program.ts";
import { flag, runQuantum } from "../../../../../services/device/drivers/wasm/quantum.ts";
import { shapeOf } from "../../../../../services/device/drivers/wasm/shape.ts";
import { readWeights, writeRotation } from "../../../../../services/device/drivers/wasm/weights.ts";
import { loadKernels } from "../../../../../services/device/kernels/load.ts";
import { openWeights } from "../../../../../services/device/weights/open.ts";
import { file, llama, randomWeights, safetensors } from "./files.ts";
import { prompt, quantum, sequence } from "./run.ts";

const config = llama();
const weights = file(safetensors(randomWeights(config)));
const sampled: Sample = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1.2, seed: 7 };
/** More than the output layer takes at a time: its second part may be given up when the first has sampled. */
const SEQUENCES = 40;
const NEW = 5;
/** Of a step: two layers, and twice the output layer. */
const PARTS = 2 + 2 * 4;

/** A model on this very thread; `leading` is called before each part. */
function machine(leading: () => void) {
  const shape = shapeOf(config);
  const layout = layOut(shape, "f32", 2 * SEQUENCES, 1);
  const memory = reserve(layout);
  const kernels = loadKernels(memory, layout.stacks, {});
  const source = openWeights(weights);
  readWeights(source, shape, layout, kernels, memory);
  source.close();
  writeRotation(shape, layout, memory);
  const programs = writePrograms(shape, layout, memory);
  const words = new Uint32Array(memory.buffer);
  for (const field of ["threads", "ids", "positions", "tables", "selection"] as const)
    words[control[field]] = layout[field];
  const lead = (program: number) => {
    leading();
    kernels.call.infer_lead!(0, program);
  };
  return { shape, layout, memory, programs, lead };
}

/** Runs them to their end, in as many quanta as it takes; the one numbered `at` is given up before its part `part`. */
function answers(at: number, part: number) {
  const flags = new Int32Array(new SharedArrayBuffer(4 * (1 + SEQUENCES)));
  let [number, led, lost] = [0, 0, 0];
  const device = machine(() => {
    if (number === at && led++ === part) flags[0] = flag.abandon;
  });
  let given = Array.from({ length: SEQUENCES }, (_, i) =>
    sequence({
      ...{ seq: `${i}`, blocks: [2 * i, 2 * i + 1], ids: prompt(i % 7 === 0 ? 9 : 2, i), maxNew: NEW },
      sample: sampled,
    }),
  );
  const got = new Map(given.map(({ seq }) => [seq, [] as number[]]));
  const told = new Map(given.map(({ seq }) => [seq, [] as number[]]));
  while (given.length > 0) {
    flags.fill(0);
    const report = runQuantum(device, quantum(given, { maxSteps: 2, tokenBudget: 64 }), flags, (tokens) => {
      for (const { seq, id } of tokens) told.get(seq)!.push(id);
    });
    number += 1;
    lost += report.lostMs;
    given = report.seqs.flatMap(({ seq, pos, newIds, finish }, i) => {
      const one = given[i]!;
      got.get(seq)!.push(...newIds);
      if (finish !== null) return [];
      const all = [...one.ids, ...newIds];
      const history = [...(one.sample!.history ?? []), ...newIds];
      const rest = { ids: all.slice(pos - one.pos), pos, maxNew: one.maxNew - newIds.length };
      return [{ ...one, ...rest, sample: { ...sampled, history } }];
    });
  }
  return { got, told, lost };
}

test("a step given up before any of its parts changes no token and says how long it took", () => {
  const whole = answers(-1, 0);
  assert.equal([whole.lost, [...whole.got.values()].every((ids) => ids.length === NEW)], [0, true]);
  assert.equal(whole.told, whole.got);
  for (let part = 0; part < 2 * PARTS; part++) {
    const { got, told, lost } = answers(1, part);
    assert.equal([got, told], [whole.got, whole.got], `given up at part ${part}`);
    // Once the last one is led, the step is whole.
    assert.is(lost > 0, part % PARTS < PARTS - 1, `part ${part}`);
  }
});

test.run();
