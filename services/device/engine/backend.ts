// Owns the choice of what computes: a TensorFlow.js with a backend set, and the operations that suit it.
import * as tfCore from "@tensorflow/tfjs-core";
import { loadFused } from "./fused.ts";
import { registerGradients } from "./gradients.ts";
import type { Ops, Tf } from "./ops.ts";
import { plainOps } from "./plain.ts";
import { repairWasm } from "./repairs.ts";

export interface Backend {
  tf: Tf;
  ops: Ops;
  name: string;
  /** Equal ids give equal bits. */
  numerics: string;
}

const processEvents = ["uncaughtException", "unhandledRejection"] as const;
let wasm: Promise<Backend> | undefined;
let current: () => void;

/** TensorFlow.js on WebAssembly with our kernels in its memory; once per thread. `before` is called before each operation of ours. */
export function wasmBackend(before: () => void = () => {}): Promise<Backend> {
  current = before;
  wasm ??= startWasm();
  return wasm;
}

async function startWasm(): Promise<Backend> {
  await import("@tensorflow/tfjs-backend-wasm");
  const before = processEvents.map((event) => process.listeners(event as any));
  if (!(await tfCore.setBackend("wasm"))) throw new Error("TensorFlow.js could not start its wasm backend");
  await tfCore.ready();
  // Its start-up code adds listeners that only throw again, and bury the message under 40 KB of its own source.
  for (const [i, event] of processEvents.entries()) {
    for (const listener of process.listeners(event as any)) {
      if (!before[i]!.includes(listener)) process.off(event, listener as any);
    }
  }
  registerGradients(tfCore);
  repairWasm(tfCore);
  const { ops, numerics } = loadFused(tfCore, { before: () => current() });
  return { tf: tfCore, ops, name: "wasm", numerics: `wasm-${numerics}` };
}

/** The reference operations on any TensorFlow.js (cpu, wasm, tfjs-node): the caller has set its backend. */
export function plainBackend(tf: Tf): Backend {
  registerGradients(tf);
  const name = tf.getBackend();
  return { tf, ops: plainOps(tf), name, numerics: `${name}-plain` };
}
