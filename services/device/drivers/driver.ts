// Owns the interface that all drivers share: a device loads models through it and runs quanta on them. Plain data only.
import type { Constraint, Grammars } from "../grammar/grammars.ts";
import type { Vocabulary } from "../grammar/trie.ts";

export interface Driver {
  name: string;
  /** Whether this driver works on this host, and why or why not, in one line. */
  probe(): { ok: boolean; why: string };
  /** Makes a model resident. Errors: EINVAL (config, weights), ENOENT (file), ENOMEM with the figures. */
  load(spec: LoadSpec): Promise<LoadedModel>;
}

export interface LoadSpec {
  /** Hugging Face config.json, parsed. */
  config: Record<string, unknown>;
  /** Path of the weights, in a format that services/device/weights/open.ts knows. */
  weights: string;
  /** SHA-256 of the weights file, where it is known already; otherwise the driver reads the file once more. */
  weightsHash?: string;
  /** What ids spell, for texts that are constrained. */
  vocabulary?: Vocabulary | undefined;
  /** How the weights stay in memory. */
  dtype: "f32" | "int8" | "int4";
  /** KV blocks of `blockTokens` tokens each. */
  kvBlocks: number;
  threads: number;
  /** Only arithmetic that is equal on all hosts (default: the fastest that this host has). */
  strict?: boolean;
  /** How far to lower the priority of tensor threads, 0 to 19 (default 5), where the host can. */
  nice?: number;
}

export const blockTokens = 16;

export interface LoadedModel {
  /** Names the arithmetic: a sequence continues exactly only where this is equal. */
  numerics: string;
  bytes: { weights: number; kv: number; total: number; block: number };
  blockTokens: typeof blockTokens;
  blocks: number;
  vocab: number;
  /** Positions that the model knows. */
  context: number;
  /** Constraints are understood, and those checked here will run; without it a constraint is refused. */
  grammars?: Grammars | undefined;
  /** Length of the vector that `embed` gives. */
  width: number;
  /** Quanta run one after another in the order of the calls: hand over the next before the last one ends. */
  run(quantum: Quantum, onTokens: (tokens: Token[]) => void): Promise<QuantumReport>;
  /** Ends the quantum, or only one of its sequences, at the next step. Nothing happens if it does not run or wait. */
  cancel(quantum: string, seq?: string): void;
  /** Ends the quantum as soon as can be: the step that runs is given up where the driver can do that, and computed again later. */
  abandon(quantum: string): void;
  /** Copies of KV blocks, `bytes.block` bytes each; a block that a running quantum writes is not a snapshot. */
  readBlocks(blocks: readonly number[]): Uint8Array;
  writeBlocks(blocks: readonly number[], bytes: Uint8Array): void;
  copyBlock(from: number, to: number): void;
  /** Ends the running quantum and gives memory and threads back. */
  unload(): Promise<void>;
}

export interface Sample {
  /** 0 takes the likeliest token. */
  temperature: number;
  /** 0 = off. */
  topK: number;
  /** 1 = off. */
  topP: number;
  /** 0 = off. */
  minP: number;
  /** 1 = off. */
  repetitionPenalty: number;
  seed: number;
  /** Ids that the repetition penalty counts, next to those sampled in this quantum. */
  history?: number[];
  /** Only these ids may be sampled. */
  allowed?: number[];
  /** What new ids must spell; the text ends by itself when nothing may follow. */
  constraint?: Constraint;
  /** Give the log-probabilities of this many likeliest ids, and of the one sampled, with each token. */
  logprobs?: number;
}

export interface QuantumSequence {
  seq: string;
  /** Block table: token p lies in block blocks[p / 16]. Blocks that two sequences share must not be written by either. */
  blocks: number[];
  /** Tokens in KV already. */
  pos: number;
  /** What to feed from `pos`: the rest of a prompt, or the token sampled last. */
  ids: number[];
  /** How to go on after `ids`; null: only compute them. */
  sample: Sample | null;
  maxNew: number;
  stopIds: number[];
  /** Report log p(ids[i] | what precedes it). */
  logprobsOf?: boolean;
  /** Report the mean of the final hidden states of `ids`, or the state of the last of them. */
  embed?: "mean" | "last";
}

export interface Quantum {
  id: string;
  maxSteps: number;
  maxMs: number;
  /** Most tokens (prefill and decode together) that one step computes. */
  tokenBudget: number;
  seqs: QuantumSequence[];
}

/** A sampled token: it stands at position `pos` of its sequence, and is in KV only after the next step. */
export interface Token {
  seq: string;
  pos: number;
  id: number;
  /** Of the model's own distribution, before temperature, penalty and filters. */
  logprob?: number;
  top?: { id: number; logprob: number }[];
}

export interface SequenceReport {
  seq: string;
  /** Tokens in KV now; of `ids` and `newIds`, what lies from here on is not computed yet. */
  pos: number;
  /** Sampled in this quantum, a stop id included. */
  newIds: number[];
  /** stop: a stop id; length: maxNew or the model's context; blocks: the table is full, continue with a longer one. */
  finish: null | "stop" | "length" | "blocks";
  /** One for each of the computed ids; null for the first one, whose prefix was not computed here. */
  logprobs?: (number | null)[];
  /** Mean over the `tokens` states that this quantum pooled; weigh by `tokens` to join several quanta. */
  embedding?: { mean: number[]; tokens: number };
}

export interface QuantumReport {
  id: string;
  seqs: SequenceReport[];
  /** Rows of the forward pass: prefilled and decoded tokens. */
  computedTokens: number;
  steps: number;
  ms: number;
  /** ms of it in a step that was given up. */
  lostMs: number;
  cancelled: boolean;
}
