// Owns the speed of the matrix products alone: a model's linear ops, nothing between them, on the same threads. FLOP/s.
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import os from "node:os";
import { type MessagePort, parentPort, Worker, workerData } from "node:worker_threads";
import { control, type Layout, layOut, type Matrix, padded } from "../../services/device/drivers/wasm/layout.ts";
import { reserve } from "../../services/device/drivers/wasm/memory.ts";
import { op, opWords } from "../../services/device/drivers/wasm/program.ts";
import { shapeOf } from "../../services/device/drivers/wasm/shape.ts";
import { loadKernels, stackBytes } from "../../services/device/kernels/load.ts";
import { MODEL_15M, PARAMETERS } from "./workload.ts";

interface Seat {
  memory: WebAssembly.Memory;
  layout: Layout;
  thread: number;
}

const kernelsOf = ({ memory, layout, thread }: Seat) => loadKernels(memory, layout.stacks + thread * stackBytes);

/** Runs in each thread: the first one leads as often as it is told to, the others follow it. */
function work(port: MessagePort, seat: Seat): void {
  const { call } = kernelsOf(seat);
  // On Linux a thread has a priority of its own: that of the device's, or a busy machine would favour this side.
  if (process.platform === "linux") os.setPriority(Number(readlinkSync("/proc/thread-self").split("/").at(-1)), 5);
  port.postMessage("here");
  if (seat.thread > 0) return void call.infer_follow!(0, seat.thread);
  port.on("message", (steps: number) => {
    const from = performance.now();
    for (let i = 0; i < steps; i++) call.infer_lead!(0, seat.layout.program);
    port.postMessage(performance.now() - from);
  });
}

if (parentPort) work(parentPort, workerData);

/** Products of `rows` rows with each matrix of the model once: a decode step without norms, attention and sampling. */
export async function startGemm(rows: number, dtype: "f32" | "int8", threads: number) {
  const layout = layOut(shapeOf(MODEL_15M), dtype, 1, threads);
  const memory = reserve(layout);
  const words = new Uint32Array(memory.buffer);
  let next = layout.program / 4;
  const emit = (code: number, ...args: number[]) => {
    words.set([code, 1, ...args], next);
    next += opWords;
  };
  // All rows are selected ones for the output layer, too.
  const product = ({ at, rows: outputs, columns }: Matrix, to: number) => {
    emit(op.pack[dtype], layout.x, padded(columns), layout.packed, columns, 0);
    emit(op.linear[dtype], layout.packed, at, 0, to, padded(outputs), outputs, columns, 0, 0);
  };
  for (const { q, k, v, o, gate, up, down } of layout.layers)
    for (const matrix of [q, k, v, o, gate, up, down]) product(matrix, layout.gate);
  product(layout.head, layout.logits);
  words[next] = 0;
  Object.assign(words, { [control.threads]: threads, [control.rows]: rows });
  // tsx does nothing in a thread unless it is told to there.
  const [tsx, own] = [import.meta.resolve("tsx/esm/api"), import.meta.url].map((url) => JSON.stringify(url));
  const program = `import(${tsx}).then(({ register }) => { register(); return import(${own}); })`;
  const workers = Array.from({ length: threads }, (_, thread) => {
    const workerData: Seat = { memory, layout, thread };
    return new Worker(program, { eval: true, workerData, execArgv: [] });
  });
  await Promise.all(workers.map((worker) => once(worker, "message")));
  return {
    /** FLOP/s over so many steps. */
    async measure(steps: number): Promise<number> {
      workers[0]!.postMessage(steps);
      const [ms] = await once(workers[0]!, "message");
      return (1000 * steps * rows * 2 * (PARAMETERS.body + PARAMETERS.head)) / ms;
    },
    async stop(): Promise<void> {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
