// Measures whole training steps beside PyTorch (where it can be imported), and two workers beside one, in turns within one run:
// node --import tsx bench/tensor/train.ts [--shape 0.9M] [--rounds 5] [--seconds 2]
import { spawn } from "node:child_process";
import os from "node:os";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { wasmBackend } from "../../services/device/engine/backend.ts";
import { encodeDataset, tokenDataset } from "../../services/device/engine/dataset.ts";
import { loadFused } from "../../services/device/engine/fused.ts";
import { Random } from "../../services/device/engine/random.ts";
import type { Progress } from "../../services/device/engine/run.ts";
import type { TrainSpecInput } from "../../services/device/engine/spec.ts";
import { Trainer } from "../../services/device/engine/trainer.ts";
import { startTraining } from "../../services/device/train.ts";

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

async function startTorch({ config, batch, length }: Shape, threads: number) {
  const script = fileURLToPath(new URL("torch_train.py", import.meta.url));
  for (const python of [process.env.SOMA_PYTHON, "python3", "/usr/bin/python3"]) {
    if (!python) continue;
    const child = spawn(python, [script, ...[config, batch, length, threads].map((one) => JSON.stringify(one))], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.on("error", () => {});
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value: ready } = await lines.next();
    if (!ready) continue;
    const run: Run = async (steps) => {
      child.stdin.write(`${steps}\n`);
      const { value: answer } = await lines.next();
      if (!answer) throw new Error(`torch_train.py ended: ${complaint}`);
      const [wall, cpu] = answer.split(" ").map(Number);
      return { wall, cpu };
    };
    return { run, version: ready.split(" ")[1] as string, stop: () => child.stdin.end() };
  }
  return undefined;
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

const median = (list: number[]) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;

async function measure(name: string, shape: Shape, rounds: number, seconds: number): Promise<void> {
  const random = new Random(1);
  const examples = Array.from({ length: shape.batch }, () => {
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
  const { tf } = await wasmBackend();
  const builds = [false, true].map((relaxed) => ({ relaxed, ...loadFused(tf, { relaxed }) }));
  const trainers = builds.map(({ ops, numerics }) => new Trainer({ tf, ops, numerics, name: "wasm" }, spec, dataset));
  const [torch, torch2] = [await startTorch(shape, 1), await startTorch(shape, 2)];

  // One core: by processor time, which the neighbours' load disturbs least.
  const runs: [string, Run][] = [
    ["soma, baseline", runHere(trainers[0]!)],
    ["soma, relaxed SIMD", runHere(trainers[1]!)],
    ...(torch ? [["torch, 1 thread", torch.run] as [string, Run]] : []),
  ];
  const speeds = new Map<string, number[]>();
  const note = (run: string, speed: number) => speeds.set(run, [...(speeds.get(run) ?? []), speed]);
  for (let round = 0; round <= rounds; round++) {
    for (const [run, measure] of runs) {
      const { cpu: one } = await measure(1);
      const steps = Math.max(1, Math.round(seconds / one));
      const { cpu } = await measure(steps);
      // Round 0 warms up.
      if (round > 0) note(run, (steps * tokens) / cpu);
    }
  }
  for (const trainer of trainers) trainer.dispose();

  // Two cores: by the clock.
  const data = encodeDataset(dataset);
  const steps = Math.max(5, Math.round((1.5 * seconds * median(speeds.get("soma, relaxed SIMD")!)) / tokens));
  for (let round = 0; round < rounds; round++) {
    for (const workers of [1, 2]) {
      note(
        `soma, ${workers} worker${workers > 1 ? "s" : ""}, by the clock`,
        await steady({ ...spec, steps }, data, workers),
      );
    }
    if (torch2) note("torch, 2 threads, by the clock", (steps * tokens) / (await torch2.run(steps)).wall);
  }

  const table = new Table({ head: ["tokens/s", "median", "least", "most", "note"] });
  const ratio = (run: string, peer: string, goal: string) => {
    const [a, b] = [speeds.get(run), speeds.get(peer)];
    return a && b ? `${(median(a) / median(b)).toFixed(2)} x ${peer.split(",")[0]} (goal ${goal})` : "";
  };
  const notes: Record<string, string> = {
    "soma, baseline": ratio("soma, baseline", "torch, 1 thread", "0.45"),
    "soma, relaxed SIMD": ratio("soma, relaxed SIMD", "torch, 1 thread", "0.55"),
    "soma, 2 workers, by the clock": `${ratio("soma, 2 workers, by the clock", "soma, 1 worker, by the clock", "1.7").replace("soma", "one worker")}; ${ratio("soma, 2 workers, by the clock", "torch, 2 threads, by the clock", "0.5")}`,
  };
  for (const [run, list] of speeds) {
    table.push([
      run,
      ...[median(list), Math.min(...list), Math.max(...list)].map((v) => v.toFixed(0)),
      notes[run] ?? "",
    ]);
  }
  console.log(
    `${name}: batch ${shape.batch} x ${shape.length} tokens, ${rounds} rounds in turns, torch ${torch?.version ?? "not importable"}`,
  );
  console.log(
    `load ${os.loadavg()[0]!.toFixed(1)} on ${os.availableParallelism()} cores, node ${process.version}, ${builds.map(({ numerics }) => numerics).join(", ")}`,
  );
  console.log(table.toString());
  torch?.stop();
  torch2?.stop();
}

const { values } = parseArgs({
  options: {
    shape: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
  },
});
for (const [name, shape] of Object.entries(shapes)) {
  if (values.shape === undefined || values.shape === name) {
    await measure(name, shape, Number(values.rounds), Number(values.seconds));
  }
}
