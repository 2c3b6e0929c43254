// Owns the TensorFlow.js wasm kernels that we add or replace.
import type { Tf } from "./ops.ts";

/** Registers them once; the wasm backend must be loaded. */
export function repairWasm(tf: Tf): void {
  if (tf.getKernel("UnsortedSegmentSum", "wasm")) return;
  // Its own Identity copies, and a copy is made of everything that is saved for the way back. This shares, as on cpu.
  tf.unregisterKernel("Identity", "wasm");
  tf.registerKernel({
    kernelName: "Identity",
    backendName: "wasm",
    kernelFunc({ inputs: { x }, backend }: any) {
      backend.incRef(x.dataId);
      return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
    },
  });
  // The gradient of tf.gather, which it lacks; only the reference operations need it.
  tf.registerKernel({
    kernelName: "UnsortedSegmentSum",
    backendName: "wasm",
    kernelFunc({ inputs: { x, segmentIds }, backend, attrs }: any) {
      const tail: number[] = x.shape.slice(segmentIds.shape.length);
      const width = tail.reduce((a, b) => a * b, 1);
      const out = backend.makeOutput([attrs.numSegments, ...tail], x.dtype);
      const [sums, values, ids] = [out, x, segmentIds].map((t) => backend.typedArrayFromHeap(t));
      sums.fill(0);
      for (let row = 0; row < ids.length; row++) {
        for (let i = 0; i < width; i++) sums[ids[row] * width + i] += values[row * width + i];
      }
      return out;
    },
  });
}
