// Owns the list of kernel binaries: one source folder, two kinds of memory, with and without relaxed SIMD.

export type MemoryKind = "plain" | "shared";

export interface Build {
  file: string;
  memory: MemoryKind;
  relaxed: boolean;
  /** What this build adds to the compiler's common flags. */
  flags: readonly string[];
}

// Plain: lives inside TensorFlow.js's own memory (training). Shared: one memory for all threads of a model (inference).
// 4 GB is the most that a 32-bit memory can grow to.
const shared = ["-matomics", "-Wl,--shared-memory", "-Wl,--max-memory=4294967296"];
const relaxed = ["-mrelaxed-simd"];

export const builds: readonly Build[] = [
  { file: "kernels.wasm", memory: "plain", relaxed: false, flags: [] },
  { file: "kernels.relaxed.wasm", memory: "plain", relaxed: true, flags: relaxed },
  { file: "kernels.shared.wasm", memory: "shared", relaxed: false, flags: shared },
  { file: "kernels.shared.relaxed.wasm", memory: "shared", relaxed: true, flags: [...shared, ...relaxed] },
];
