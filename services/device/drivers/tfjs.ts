// Owns running a Llama on any TensorFlow.js, in its plain operations (engine/plain.ts). There is no KV: a block holds the ids
// of its tokens, and each step computes its sequences again from their first token. That is slow on long texts, exact on every
// backend, and lets blocks be copied, shared and moved as the interface wants: it batches, takes prompts in chunks and preempts.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { setImmediate as breathe } from "node:timers/promises";
import type { Tensor, Tensor2D } from "@tensorflow/tfjs-core";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { resolveArchitecture } from "../engine/architecture.ts";
import { type LlamaConfig, llamaStates } from "../engine/llama.ts";
import type { Ops, Rotation, Tf } from "../engine/ops.ts";
import { plainOps } from "../engine/plain.ts";
import { Grammars } from "../grammar/grammars.ts";
import { checkBlock, copyIn, copyOut } from "./blocks.ts";
import {
  blockTokens,
  type LoadedModel,
  type LoadSpec,
  type Quantum,
  type QuantumReport,
  type Token,
} from "./driver.ts";
import { readTensors } from "./tensors.ts";
import { checkQuantum } from "./wasm/check.ts";
import { type Chunk, compose } from "./wasm/compose.ts";
import { next } from "./wasm/quantum.ts";
import { Sequence } from "./wasm/sequence.ts";
import { shapeOf } from "./wasm/shape.ts";

/** Bytes of a block: 16 ids of 4 bytes. */
const BLOCK = 4 * blockTokens;

/** Loads a Llama onto `tf`, whose backend is set. EINVAL: not a Llama, int8, weights that do not fit the config; ENOENT. */
export async function loadTfjs(tf: Tf, name: string, spec: LoadSpec): Promise<LoadedModel> {
  if (spec.dtype !== "f32")
    throw new SomaError("EINVAL", `driver ${name} keeps weights as f32 only, not ${spec.dtype}`);
  if (spec.config.model_type !== "llama")
    throw new SomaError(
      "EINVAL",
      `driver ${name} runs Llama models only, not ${spec.config.model_type}: use driver wasm`,
    );
  // The driver's own reading of config.json knows all rotations; the architecture for training only the plain one.
  const { rotations, attention } = shapeOf(spec.config);
  if (attention.some(({ visible }) => visible))
    throw new SomaError("EINVAL", `driver ${name} has no sliding window: use driver wasm`);
  const plain = { ...spec.config, rope_scaling: null };
  const { architecture, config } = resolveArchitecture("llama", plain);
  const weights = new Map<string, Tensor>();
  try {
    for (const { name, shape, data } of readTensors(spec.weights, architecture.parameters(config)))
      weights.set(name, tf.tensor(data, shape, "float32"));
  } catch (error) {
    tf.dispose([...weights.values()]);
    throw error;
  }
  const hash = spec.weightsHash ?? (await sha256(spec.weights));
  const rotation = rotationOf(tf, config.max_position_embeddings, rotations[0]!);
  const grammars = spec.vocabulary && new Grammars(spec.vocabulary);
  return new TfjsModel(
    tf,
    config,
    weights,
    rotation,
    spec.kvBlocks,
    grammars,
    `${name}:${tf.getBackend()}-plain:${hash}:f32`,
  );
}

/** Cosines and sines of `positions` positions for the angles per position. */
function rotationOf(tf: Tf, positions: number, frequencies: Float64Array): Rotation {
  const half = frequencies.length;
  const angles = Float64Array.from(
    { length: positions * half },
    (_, i) => Math.floor(i / half) * frequencies[i % half]!,
  );
  const table = (of: (angle: number) => number) => tf.tensor2d(Float32Array.from(angles, of), [positions, half]);
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** A quantum that runs or waits. */
interface Running {
  cancelled: boolean;
  sequences: Sequence[];
}

/** A row whose logits or hidden state somebody wants. */
interface Wanted {
  sequence: Sequence;
  scored: number | undefined;
  samples: boolean;
  pools: boolean;
}

class TfjsModel implements LoadedModel {
  readonly bytes: LoadedModel["bytes"];
  readonly blockTokens = blockTokens;
  readonly vocab: number;
  readonly context: number;
  readonly width: number;
  private readonly ops: Ops;
  /** Of token p of a sequence: ids[16 * blocks[p / 16] + p % 16]. */
  private readonly ids: Int32Array;
  private readonly running = new Map<string, Running>();
  private turn: Promise<unknown> = Promise.resolve();
  private ended: SomaError | undefined;

  constructor(
    private readonly tf: Tf,
    private readonly config: LlamaConfig,
    private readonly weights: Map<string, Tensor>,
    private readonly rotation: Rotation,
    readonly blocks: number,
    readonly grammars: Grammars | undefined,
    readonly numerics: string,
  ) {
    this.ops = plainOps(tf);
    this.ids = new Int32Array(blocks * blockTokens);
    const bytes = [...weights.values(), rotation.cos, rotation.sin].reduce((sum, { size }) => sum + 4 * size, 0);
    this.bytes = { weights: bytes, kv: blocks * BLOCK, total: bytes + blocks * BLOCK, block: BLOCK };
    this.vocab = config.vocab_size;
    this.context = config.max_position_embeddings;
    this.width = config.hidden_size;
  }

  async run(quantum: Quantum, onTokens: (tokens: Token[]) => void): Promise<QuantumReport> {
    if (this.ended) throw this.ended;
    if (this.running.has(quantum.id)) throw new SomaError("EINVAL", `quantum ${quantum.id} runs already`);
    checkQuantum(quantum, this);
    const running = {
      cancelled: false,
      sequences: quantum.seqs.map((spec) => new Sequence(spec, 0, this.context, this.width, this.grammars)),
    };
    this.running.set(quantum.id, running);
    const before = this.turn;
    const mine = before
      .then(() => this.steps(quantum, running, onTokens))
      .finally(() => this.running.delete(quantum.id));
    // A quantum that failed does not fail the next one.
    this.turn = mine.catch(() => {});
    return mine;
  }

  cancel(quantum: string, seq?: string): void {
    const running = this.running.get(quantum);
    if (running === undefined) return;
    if (seq === undefined) running.cancelled = true;
    for (const sequence of running.sequences) if (sequence.spec.seq === seq) sequence.gone = true;
  }

  /** What an accelerator was given it computes to its end. */
  abandon(quantum: string): void {
    this.cancel(quantum);
  }

  readBlocks(blocks: readonly number[]): Uint8Array {
    return copyOut(blocks, BLOCK, (index) => this.block(index));
  }

  writeBlocks(blocks: readonly number[], bytes: Uint8Array): void {
    copyIn(blocks, BLOCK, (index) => this.block(index), bytes);
  }

  copyBlock(from: number, to: number): void {
    this.block(to).set(this.block(from));
  }

  async unload(): Promise<void> {
    if (this.ended) return;
    this.ended = new SomaError("ENOENT", "the model is unloaded; load it again");
    for (const quantum of this.running.keys()) this.cancel(quantum);
    await this.turn;
    this.tf.dispose([...this.weights.values(), this.rotation.cos, this.rotation.sin]);
  }

  private block(index: number): Uint8Array {
    if (this.ended) throw this.ended;
    checkBlock(index, this.blocks);
    return new Uint8Array(this.ids.buffer, index * BLOCK, BLOCK);
  }

  private async steps(quantum: Quantum, running: Running, onTokens: (tokens: Token[]) => void): Promise<QuantumReport> {
    const start = performance.now();
    const { sequences } = running;
    let [steps, computedTokens] = [0, 0];
    while (steps < quantum.maxSteps && (steps === 0 || performance.now() - start < quantum.maxMs)) {
      // TensorFlow.js computes on this thread: whoever wants to cancel must get a turn.
      await breathe();
      if (running.cancelled) break;
      const chunks = compose(sequences, quantum.tokenBudget, steps);
      if (chunks.length === 0) break;
      const tokens = this.step(sequences, chunks);
      if (tokens.length) onTokens(tokens);
      for (const { count } of chunks) computedTokens += count;
      steps++;
    }
    const seqs = sequences.map((sequence) => sequence.report());
    return {
      id: quantum.id,
      seqs,
      computedTokens,
      steps,
      ms: performance.now() - start,
      lostMs: 0,
      cancelled: running.cancelled,
    };
  }

  private step(sequences: Sequence[], chunks: Chunk[]): Token[] {
    const starts = [0];
    const ids: number[] = [];
    const outputs: number[] = [];
    const wanted: Wanted[] = [];
    for (const { of, count } of chunks) {
      const sequence = sequences[of]!;
      const { pos, spec } = sequence;
      const place = (p: number) => spec.blocks[Math.floor(p / blockTokens)]! * blockTokens + (p % blockTokens);
      for (let i = 0; i < count; i++) {
        this.ids[place(pos + i)] = sequence.next(i);
        const scored = sequence.scored(i);
        const samples = i === count - 1 && sequence.samplesAfter(count);
        const pools = sequence.pools(i, count);
        if (!samples && scored === undefined && !pools) continue;
        outputs.push(starts.at(-1)! + pos + i);
        wanted.push({ sequence, scored, samples, pools });
      }
      for (let p = 0; p < pos + count; p++) ids.push(this.ids[place(p)]!);
      starts.push(ids.length);
    }
    const rows = wanted.length ? this.forward(ids, starts, outputs) : undefined;
    for (const { of, count } of chunks) sequences[of]!.advance(count);
    return wanted.flatMap(({ sequence, scored, samples, pools }, i) => {
      if (pools) sequence.pool(rows!.states, i * this.width);
      if (scored === undefined && !samples) return [];
      const logits = rows!.logits.subarray(i * this.vocab, (i + 1) * this.vocab);
      const logSum =
        scored !== undefined || sequence.spec.sample?.logprobs !== undefined ? logSumExp(logits) : Number.NaN;
      if (scored !== undefined) sequence.logprobs.push(logits[scored]! - logSum);
      return samples ? [next(sequence, logits, logSum)] : [];
    });
  }

  /** Final hidden states [outputs, width] and logits [outputs, vocab] of those rows of the ragged batch. */
  private forward(ids: number[], starts: number[], outputs: number[]): { states: Float32Array; logits: Float32Array } {
    const { tf, ops, config, weights } = this;
    const constants = { ...this.rotation };
    const weight = (name: string): any => weights.get(name);
    const head = weight(config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight") as Tensor2D;
    // Copies: sampling changes logits, and the tensor's own values go with it.
    const read = (x: Tensor) => Float32Array.from(ops.read(x));
    let rows!: { states: Float32Array; logits: Float32Array };
    tf.tidy(() => {
      const batch = {
        ids: tf.tensor1d(ids, "int32"),
        layout: ops.layout(Int32Array.from(starts)),
        outputs: tf.tensor1d(outputs, "int32"),
      };
      const states = llamaStates({ tf, ops, config, weight, constants }, batch);
      rows = { states: read(states), logits: read(ops.linear(states, head)) };
    });
    return rows;
  }
}

function logSumExp(logits: Float32Array): number {
  let peak = Number.NEGATIVE_INFINITY;
  for (const logit of logits) peak = Math.max(peak, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - peak);
  return peak + Math.log(sum);
}
