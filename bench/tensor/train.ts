// Measures whole training steps beside PyTorch (where it can be imported), and two workers beside one, in turns within one run:
// node --import tsx bench/tensor/train.ts [--shape 0.9M] [--rounds 5] [--seconds 1]
import { parseArgs } from "node:util";
import { wasmBackend } from "../../services/device/engine/backend.ts";
import { encodeDataset, tokenDataset } from "../../services/device/engine/dataset.ts";
import { loadFused } from "../../services/device/engine/fused.ts";
import { Random } from "../../services/device/engine/random.ts";
import type { Progress } from "../../services/device/engine/run.ts";
import type { TrainSpecInput } from "../../services/device/engine/spec.ts";
import { Trainer } from "../../services/device/engine/trainer.ts";
import { startTraining } from "../../services/device/train.ts";
import { type Figures, inTurns, load, type Measure, median, type Row, table } from "../figures.ts";
import { startTorch, type Torch } from "./torch.ts";

interface Shape {
  config: Record<string, unknown>;
  batch: number;
  /** Rows of each example: all are full, so that PyTorch pads nothing. */
  length: number;
}

const llama = (width: number, ffn: number, context: number) => ({
  ...{ vocab_size: 1024, hidden_size: width, intermediate_size: ffn, num_hidden_layers: 4, num_attention_heads: 4 },
  ...{ num_key_value_heads: 2, max_position_embeddings: context, rms_norm_eps: 1e-5, rope_theta: 10000 },
  tie_word_embeddings: true,
});
const shapes: Record<string, Shape> = {
  "0.9M": { config: llama(128, 352, 64), batch: 16, length: 64 },
  "3M": { config: llama(256, 688, 128), batch: 16, length: 128 },
};

/** Seconds of `steps` steps: by the clock, and of the processor. */
type Run = (steps: number) => Promise<{ wall: number; cpu: number }>;

const peer = ({ config, batch, length }: Shape, threads: number) =>
  startTorch("torch_train.py", [config, batch, length, threads]);

function runThere(torch: Torch): Run {
  return async (steps) => {
    const [wall, cpu] = (await torch.ask(`${steps}`)).split(" ").map(Number);
    return { wall: wall!, cpu: cpu! };
  };
}

function runHere(trainer: Trainer): Run {
  return async (steps) => {
    const [start, before] = [performance.now(), process.cpuUsage()];
    for (let i = 0; i < steps; i++) trainer.next();
    const { user, system } = process.cpuUsage(before);
    return { wall: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 };
  };
}

/** Tokens per second of the last three quarters of a run: its threads are up and its code is compiled by then. */
async function steady(spec: TrainSpecInput, data: Uint8Array, workers: number): Promise<number> {
  const reports: Progress[] = [];
  await startTraining(spec, data, { workers, progressMs: 0, onProgress: (report) => reports.push(report) });
  const [from, to] = [reports[Math.ceil(reports.length / 4)]!, reports.at(-1)!];
  const seconds = ({ tokens, tokensPerSecond }: Progress) => tokens / tokensPerSecond;
  return (to.tokens - from.tokens) / (seconds(to) - seconds(from));
}

/** Steps that take about `seconds` of processor time, and tokens per such second: the neighbours' load disturbs it least. */
const perCore =
  (run: Run, tokens: number, seconds: number): Measure =>
  async () => {
    const { cpu: one } = await run(1);
    const steps = Math.max(1, Math.round(seconds / one));
    return (steps * tokens) / (await run(steps)).cpu;
  };

/** Adds the figures of this shape to `figures`, under "<name> <what>". Returns the version of torch and the numerics. */
async function measure(name: string, shape: Shape, rounds: number, seconds: number, figures: Figures) {
  const random = new Random(1);
  const examples = Array.from({ length: 2 * shape.batch }, () => {
    return { ids: Array.from({ length: shape.length + 1 }, () => random.below(1024)), prompt: 0 };
  });
  const dataset = tokenDataset({ train: examples });
  const tokens = shape.batch * shape.length;
  const spec: TrainSpecInput = {
    config: shape.config,
    batch: shape.batch,
    steps: 1_000_000,
    lr: 1e-3,
    evaluateEvery: 0,
  };
  const keep = (taken: Figures) => {
    for (const [what, list] of taken) figures.set(`${name} ${what}`, list);
  };
  const { tf } = await wasmBackend();
  const builds = [false, true].map((relaxed) => ({ relaxed, ...loadFused(tf, { relaxed }) }));
  const trainers = builds.map(({ ops, numerics }) => new Trainer({ tf, ops, numerics, name: "wasm" }, spec, dataset));

  const torch = await peer(shape, 1);
  const measures: [string, Measure][] = [
    ["baseline", perCore(runHere(trainers[0]!), tokens, seconds)],
    ["relaxed", perCore(runHere(trainers[1]!), tokens, seconds)],
  ];
  if (torch) measures.push(["torch", perCore(runThere(torch), tokens, seconds)]);
  keep(await inTurns(measures, rounds));
  for (const trainer of trainers) trainer.dispose();
  torch?.stop();

  const data = encodeDataset(dataset);
  const speed = median(figures.get(`${name} relaxed`)!);
  const steps = Math.max(8, Math.round((2 * seconds * speed) / tokens));
  const threads: [string, Measure][] = [1, 2].map((n) => [`${n}`, () => steady({ ...spec, steps }, data, n)]);
  // As one scales training: each worker keeps the rows that one had.
  threads.push(["2 full", () => steady({ ...spec, steps, batch: 2 * shape.batch }, data, 2)]);
  const torch2 = await peer(shape, 2);
  if (torch2) threads.push(["torch2", async () => (steps * tokens) / (await runThere(torch2)(steps)).wall]);
  keep(await inTurns(threads, rounds));
  torch2?.stop();
  return { torch: torch?.version ?? "not importable", numerics: builds.map(({ numerics }) => numerics) };
}

const rowsOf = (name: string): Row[] => [
  { name: `${name} SIMD`, key: `${name} baseline`, against: [["torch", `${name} torch`, 0.45]] },
  { name: `${name} relaxed SIMD`, key: `${name} relaxed`, against: [["torch", `${name} torch`, 0.55]] },
  { name: `${name} torch, 1 thread`, key: `${name} torch` },
  { name: `${name} 1 worker, clock`, key: `${name} 1` },
  {
    name: `${name} 2 workers, clock`,
    key: `${name} 2`,
    against: [
      ["1 worker", `${name} 1`, 1.7],
      ["torch", `${name} torch2`],
    ],
  },
  { name: `${name} 2 workers, twice the rows`, key: `${name} 2 full`, against: [["1 worker", `${name} 1`, 1.7]] },
  { name: `${name} torch, 2 threads, clock`, key: `${name} torch2` },
];

const { values } = parseArgs({
  options: {
    shape: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
  },
});
const figures: Figures = new Map();
const names = Object.keys(shapes).filter((name) => values.shape === undefined || values.shape === name);
let peers = { torch: "", numerics: [""] };
for (const name of names) {
  peers = await measure(name, shapes[name]!, Number(values.rounds), Number(values.seconds), figures);
}
console.log(`${table("training, tokens/s", names.flatMap(rowsOf), figures)}\n`);
const sizes = names.map((name) => `${name}: ${shapes[name]!.batch} x ${shapes[name]!.length}`).join(", ");
console.log(`Whole steps, rows per step ${sizes}; ${values.rounds} rounds in turns; torch ${peers.torch}.`);
console.log('Per second of one core\'s time; rows with "clock" per second of the clock.');
console.log(`Numerics ${peers.numerics.join(", ")}; ${load()} at the end.\n`);
