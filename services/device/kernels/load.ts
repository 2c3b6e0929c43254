// Picks the kernel binary for this host and puts it into somebody's memory.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import v8 from "node:v8";
import { builds, type MemoryKind } from "./builds.ts";

/** An exported kernel: numbers in (addresses, sizes, scalars), at most a number out. */
export type Kernel = (...args: number[]) => number;

export interface Kernels {
  call: Record<string, Kernel>;
  /** Names the arithmetic: equal ids give equal bits. Binary's hash, and whether the host fuses multiply and add. */
  numerics: string;
  relaxed: boolean;
}

/** Bytes of stack that the kernels need below the address given to `loadKernels`. */
export const stackBytes = 65536;

/** V8 before 11.4, Node 20's, has relaxed SIMD behind a flag; later ones complain of the flag. */
const [MAJOR = 0, MINOR = 0] = process.versions.v8.split(".").map(Number);
const FLAGGED = MAJOR < 11 || (MAJOR === 11 && MINOR < 4);

const compiled = new Map<string, { module: WebAssembly.Module; hash: string }>();

function compile(file: string): { module: WebAssembly.Module; hash: string } | undefined {
  const known = compiled.get(file);
  if (known) return known;
  const bytes = readFileSync(new URL(file, import.meta.url));
  // Only the relaxed builds may fail: not every engine has it at all.
  if (!WebAssembly.validate(bytes)) return undefined;
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  const entry = { module: new WebAssembly.Module(bytes), hash };
  compiled.set(file, entry);
  return entry;
}

/**
 * Instantiates the kernels in `memory`. `stack` is the address of `stackBytes` bytes that belong to this instance alone
 * (each thread needs its own). `relaxed: false` forces the build whose results are equal on every host.
 */
export function loadKernels(memory: WebAssembly.Memory, stack: number, options: { relaxed?: boolean } = {}): Kernels {
  const kind: MemoryKind = memory.buffer instanceof ArrayBuffer ? "plain" : "shared";
  const wanted = options.relaxed ?? true;
  if (wanted && FLAGGED) v8.setFlagsFromString("--experimental-wasm-relaxed-simd");
  const candidates = builds.filter((build) => build.memory === kind && (wanted || !build.relaxed));
  for (const { file, relaxed } of candidates.sort((a, b) => Number(b.relaxed) - Number(a.relaxed))) {
    const found = compile(file);
    if (!found) continue;
    const exports = new WebAssembly.Instance(found.module, { env: { memory } }).exports;
    const pointer = exports.__stack_pointer as WebAssembly.Global;
    pointer.value = (stack + stackBytes) & ~15;
    const call = exports as Record<string, any> as Record<string, Kernel>;
    return { call, relaxed, numerics: `${found.hash}${call.madd_is_fused!() ? "-fused" : ""}` };
  }
  throw new Error(
    `no kernel binary for ${kind} memory is valid here: WebAssembly SIMD is missing (Node 20 or later has it)`,
  );
}
