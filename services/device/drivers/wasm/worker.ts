// The tensor threads of one model, a Piscina pool of one thread each. All state is in the shared memory; a thread keeps only
// its instance of the kernels. Thread 0 loads and leads, the others follow it through a quantum.
import { readlinkSync } from "node:fs";
import os from "node:os";
import type { MessagePort } from "node:worker_threads";
import { isSomaError, type WireError } from "../../../../kernel/abi/errors.ts";
import { Grammars } from "../../grammar/grammars.ts";
import { Vocabulary } from "../../grammar/trie.ts";
import { type Kernels, loadKernels, stackBytes } from "../../kernels/load.ts";
import { openWeights } from "../../weights/open.ts";
import type { Quantum, QuantumReport, Token } from "../driver.ts";
import { control, type Layout } from "./layout.ts";
import { type Programs, writePrograms } from "./program.ts";
import { runQuantum } from "./quantum.ts";
import type { Shape } from "./shape.ts";
import { readWeights, writeRotation } from "./weights.ts";

/** What each thread needs to take part in a model. */
export interface Seat {
  thread: number;
  memory: WebAssembly.Memory;
  shape: Shape;
  layout: Layout;
  strict: boolean;
  nice: number;
  /** Of the model's vocabulary, if it was given one. */
  vocabulary: SharedArrayBuffer | undefined;
}

export type Task =
  | { do: "open"; seat: Seat }
  | { do: "load"; weights: string; hash: string | undefined; tokens: MessagePort }
  | { do: "lead"; quantum: Quantum; flags: Int32Array }
  | { do: "follow" };

/** What goes through the port while a quantum runs. */
export interface TokensMessage {
  quantum: string;
  tokens: Token[];
}

export type Loaded = { arithmetic: string; hash: string } | { error: WireError };

let seat: Seat;
let kernels: Kernels;
let programs: Programs;
let port: MessagePort;
let grammars: Grammars | undefined;

/** `open` comes first, once for each thread; then `load`, once, to thread 0. */
export default function worker(task: Task): Loaded | QuantumReport | undefined {
  if (task.do === "open") return open(task.seat);
  if (task.do === "load") return load(task.weights, task.hash, task.tokens);
  if (task.do === "lead") return lead(task.quantum, task.flags);
  kernels.call.infer_follow!(0, seat.thread);
  return undefined;
}

function open(given: Seat): undefined {
  seat = given;
  lowerPriority(seat.nice);
  const stack = seat.layout.stacks + seat.thread * stackBytes;
  kernels = loadKernels(seat.memory, stack, seat.strict ? { relaxed: false } : {});
}

// On Linux a priority belongs to a thread; elsewhere the call would slow the whole process down.
function lowerPriority(nice: number): void {
  if (process.platform !== "linux" || nice === 0) return;
  const thread = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
  os.setPriority(thread, Math.max(nice, os.getPriority(thread)));
}

function load(weights: string, hash: string | undefined, tokens: MessagePort): Loaded {
  port = tokens;
  if (seat.vocabulary) grammars = new Grammars(new Vocabulary(seat.vocabulary));
  const { shape, layout, memory } = seat;
  try {
    const source = openWeights(weights);
    try {
      readWeights(source, shape, layout, kernels, memory);
      hash ??= source.hash();
    } finally {
      source.close();
    }
  } catch (error) {
    // Errors lose their class between threads.
    if (isSomaError(error)) return { error: error.toWire() };
    throw error;
  }
  writeRotation(shape, layout, memory);
  programs = writePrograms(shape, layout, memory);
  const words = new Uint32Array(memory.buffer);
  for (const field of ["threads", "ids", "positions", "tables", "selection"] as const)
    words[control[field]] = layout[field];
  return { arithmetic: kernels.numerics, hash };
}

function lead(quantum: Quantum, flags: Int32Array): QuantumReport {
  const words = new Uint32Array(seat.memory.buffer);
  const run = (program: number) => void kernels.call.infer_lead!(0, program);
  try {
    const report = runQuantum({ ...seat, programs, grammars, lead: run }, quantum, flags, (tokens) =>
      port.postMessage({ quantum: quantum.id, tokens } satisfies TokensMessage),
    );
    run(0);
    return report;
  } catch (error) {
    // The others wait in the middle of a program: they trap when they see this, and the model is lost.
    Atomics.store(words, control.abort, 1);
    throw error;
  }
}
