// Owns the shared memory of a model: getting it, and giving its pages back to the system.
import v8 from "node:v8";
import vm from "node:vm";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import type { Layout } from "./layout.ts";

const pageBytes = 65536;
const mb = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MB`;

/** A memory for this layout. ENOMEM with the figures if it is over what one memory can hold or what the host gives. */
export function reserve(layout: Layout): WebAssembly.Memory {
  const { weights, kv, total } = layout.bytes;
  const pages = Math.ceil(total / pageBytes);
  const figures = `${mb(total)} (weights ${mb(weights)}, KV ${mb(kv)}, activations ${mb(total - weights - kv)})`;
  if (pages > 65536)
    throw new SomaError("ENOMEM", `the model needs ${figures}, one memory holds 4096 MB; use int8 or fewer KV blocks`);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new SomaError("ENOMEM", `the host does not give ${figures}; unload a model or use fewer KV blocks`, {
      cause,
    });
  }
}

/** What takes the place of a memory that was given back. */
export const noMemory = new WebAssembly.Memory({ initial: 0, maximum: 0, shared: true });

/**
 * Gives back the pages of all memories that nobody holds. They go when the last handle is collected, but V8 sees a handle of
 * a few bytes and no reason to hurry: without this, several unloaded models would stay resident.
 */
export function collectMemories(): void {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
}
