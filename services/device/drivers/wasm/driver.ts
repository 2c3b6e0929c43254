// The wasm driver: runs everywhere Node does, on the CPU, with our own kernels over one shared memory for each model.
import { loadKernels, stackBytes } from "../../kernels/load.ts";
import type { Driver } from "../driver.ts";
import { loadModel } from "./model.ts";

export const wasm: Driver = {
  name: "wasm",
  probe() {
    try {
      const memory = new WebAssembly.Memory({ initial: stackBytes / 65536 + 1, maximum: 65536, shared: true });
      const { relaxed, numerics } = loadKernels(memory, 0);
      return { ok: true, why: `WebAssembly SIMD with threads${relaxed ? ", relaxed" : ""} (${numerics})` };
    } catch (error) {
      return { ok: false, why: (error as Error).message };
    }
  },
  load: loadModel,
};
