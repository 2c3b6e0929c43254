// Short ways to load a model, feed it and read everything that it computed.
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../../kernel/abi/errors.ts";
import type {
  LoadedModel,
  LoadSpec,
  Quantum,
  QuantumReport,
  QuantumSequence,
  Sample,
  Token,
} from "../../../../../services/device/drivers/driver.ts";
import { wasm } from "../../../../../services/device/drivers/wasm/driver.ts";
import { type Config, type FileType, file, safetensors, type Weights } from "./files.ts";

/** A loaded model; the caller unloads it. */
export function load(
  config: Config,
  weights: Weights,
  spec: Partial<LoadSpec> = {},
  type: FileType = "F32",
): Promise<LoadedModel> {
  const path = spec.weights ?? file(safetensors(weights, type));
  return wasm.load({ config, dtype: "f32", kvBlocks: 24, threads: 1, nice: 0, ...spec, weights: path });
}

export const greedy: Sample = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };

export const sequence = (given: Partial<QuantumSequence>): QuantumSequence => ({
  ...{ seq: "s", blocks: [0, 1, 2, 3], pos: 0, ids: [1], sample: greedy, maxNew: 1, stopIds: [] },
  ...given,
});

let quanta = 0;
export const quantum = (seqs: Partial<QuantumSequence>[], given: Partial<Quantum> = {}): Quantum => ({
  ...{ id: `q${quanta++}`, maxSteps: 1000, maxMs: 60_000, tokenBudget: 64 },
  ...given,
  seqs: seqs.map(sequence),
});

/** Runs one quantum; the tokens come as they were reported. */
export async function run(model: LoadedModel, given: Quantum): Promise<{ report: QuantumReport; tokens: Token[] }> {
  const tokens: Token[] = [];
  const report = await model.run(given, (some) => tokens.push(...some));
  return { report, tokens };
}

/** Log-probabilities of the whole vocabulary with each token: equal ones mean equal logits. */
export const everything = (model: LoadedModel): Sample => ({ ...greedy, logprobs: model.vocab });

/** [id -> log-probability] of each token, by id. */
export const distributions = (tokens: Token[]): number[][] =>
  tokens.map(({ top }) => [...top!].sort((a, b) => a.id - b.id).map(({ logprob }) => logprob));

/** `count` ids that look random. */
export const prompt = (count: number, seed: number, vocab = 83): number[] =>
  Array.from({ length: count }, (_, i) => ((i + 1) * (17 + 2 * seed) + seed * 31 + (i >> 2)) % vocab);

/** The message of the coded error that `work` ends with. */
export async function refusal(code: string, work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.ok(isSomaError(error), `not a coded error: ${error}`);
    assert.is((error as { code: string }).code, code, (error as Error).message);
    return (error as Error).message;
  }
  throw new Error(`nothing was refused, expected ${code}`);
}
