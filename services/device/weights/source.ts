// Owns the interface between files of weights and whoever loads them: tensors by their Hugging Face names, read as f32 a few
// rows at a time. One file (or set of files) is one source: safetensors.ts is one, and GGUF or sharded files are others;
// open.ts chooses by what lies at the path. A loader (drivers/wasm/weights.ts) knows this interface only, and converts to the
// dtype that it keeps. Sources run on tensor threads, so they may block.

export interface WeightSource {
  /** All tensors, by Hugging Face's names ("model.layers.0.mlp.up_proj.weight"): a source of another format translates. */
  names(): Iterable<string>;
  /** Rows first, as Hugging Face has it: [out, in] for a matrix, [length] for a vector. Undefined: no such tensor. */
  shape(name: string): readonly number[] | undefined;
  /**
   * Writes rows `from` to `to` (exclusive) as f32 into `into`, which has exactly that many numbers; a vector has rows of one
   * number. `into` may lie in shared memory. Numbers that are not finite are passed on: the loader refuses them. EINVAL when
   * the file is cut off or the type of the tensor is unknown.
   */
  read(name: string, from: number, to: number, into: Float32Array): void;
  /** SHA-256 of the bytes on disk, in hex: reads all of them. */
  hash(): string;
  close(): void;
}
