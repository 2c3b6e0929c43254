// Owns the device's calls: mechanism only, quanta and training, no policy.
import { z } from "zod";
import { table } from "../syscall.ts";
import { blob, count, none, record } from "./common.ts";

/** How the next token is chosen. The random number is a function of (seed, position) alone. */
export const sampling = z.object({
  temperature: z.number().min(0).max(10).default(0),
  topK: count.default(0),
  topP: z.number().min(0).max(1).default(1),
  minP: z.number().min(0).max(1).default(0),
  repetitionPenalty: z.number().min(0.1).max(10).default(1),
  seed: z.number().int().min(0).max(0xffffffff).default(0),
});

/** config.json's model_type of all that the wasm driver runs. */
export const modelTypes = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"] as const;

const file = z.object({ path: z.string(), sha256: z.string(), bytes: count, blob: blob.optional() });
/** A model's files: where they lie on the model service's host, and the blobs to fetch where that path is not there. */
export const modelFiles = z.object({
  dir: z.string(),
  weights: file,
  /** The bytes of each id in its order: u16 length (little-endian), bytes. Length 0: no text, as of special tokens. */
  vocabulary: file.optional(),
});

/** What a sequence is for. `score` returns log-probabilities of the ids given, `embed` a vector, `generate` new ids. */
export const mode = z.enum(["generate", "score", "embed"]);

/** `embed`: the mean of the final hidden states of all ids, or the last one's. */
export const pooling = z.enum(["mean", "last"]);
/**
 * New ids spell one JSON value of `schema`, a JSON Schema, and nothing else; it ends within maxNew. The last `made` of the
 * ids given are the beginning of it, made before.
 */
export const constraint = z.object({ schema: record, made: count.default(0) });
/** The likeliest ids at the place of a token, best first. */
export const topIds = z.array(z.object({ id: count, logprob: z.number() }));

/** A sequence in a quantum. `start` comes with its first quantum on this device; later ones name it only. */
export const quantumSequence = z.object({
  seq: z.string().max(128),
  start: z
    .object({
      /** Prompt and what was generated before: all that must be in KV. */
      ids: z.array(count),
      /** How many of `ids` were generated before, perhaps on another device: positions of new tokens go on from there. */
      generated: count.default(0),
      mode,
      sample: sampling,
      stopIds: z.array(count),
      /** New tokens in all, those of `generated` included. */
      maxNew: count,
      /** `score`: the first id whose log-probability is asked for; those before it are reported as 0. */
      from: count.default(1),
      /** Where tokens go as they come: an inbox of the model instance that asked. */
      to: z.string(),
      principal: z.string(),
      /** Only these ids may come next at each step, for constrained labels. */
      allowed: z.array(count).optional(),
      constraint: constraint.optional(),
      logprobs: count.optional(),
      pooling: pooling.optional(),
      /** It ran before: look for what was kept of its KV, here or in files. */
      parked: z.boolean().optional(),
      /** W3C trace context, where its spans are kept: the device adds its own. */
      trace: z.string().max(64).optional(),
    })
    .optional(),
});

export const sequenceReport = z.object({
  seq: z.string(),
  /** Rows of the forward pass. */
  computed: count,
  /** Tokens that a shared prefix saved. */
  cached: count.default(0),
  newIds: z.array(count),
  /** `unknown`: named without `start`, and not held here any more. */
  finish: z.enum(["stop", "length", "blocks", "error", "unknown"]).nullable(),
  message: z.string().optional(),
  /** `score`, at its end: one for each of its ids, 0 before `from`. */
  logprobs: z.array(z.number()).optional(),
  vector: z.array(z.number()).optional(),
});

export const loadedRow = z.object({
  model: z.string(),
  driver: z.string(),
  numerics: z.string(),
  weightBytes: count,
  kvBytes: count,
  blockBytes: count,
  blocks: count,
  freeBlocks: count,
  context: count,
  vocab: count,
  sequences: count,
});

export const trainProgress = z.object({
  step: count,
  steps: count,
  loss: z.number(),
  validationLoss: z.number().optional(),
  lr: z.number(),
  gradNorm: z.number().optional(),
  tokens: count,
  tokensPerSecond: z.number(),
  etaMs: z.number(),
  note: z.string().optional(),
  checkpoint: blob.optional(),
});

export const device = table({
  list: {
    kind: "call",
    what: "list devices, and which driver runs or why not",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      device: z.string(),
      cores: count,
      memoryBytes: count,
      budgetBytes: count,
      gpus: z.array(record),
      drivers: z.array(z.object({ driver: z.string(), ok: z.boolean(), why: z.string(), chosen: z.boolean() })),
      models: z.array(loadedRow),
      /** Trainings that run or rest. */
      trainings: count.default(0),
    }),
  },
  load: {
    kind: "call",
    what: "make a model resident",
    right: "service",
    idempotent: true,
    ttl: 120_000,
    input: z.object({
      model: z.string(),
      config: record,
      files: modelFiles,
      dtype: z.enum(["f32", "int8", "int4"]).default("f32"),
      kvBytes: count.optional(),
      driver: z.string().optional(),
    }),
    output: loadedRow,
  },
  unload: {
    kind: "call",
    what: "give a model's memory back",
    right: "service",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ model: z.string() }),
    output: z.object({ freedBytes: count }),
  },
  run: {
    kind: "call",
    what: "run a quantum: these sequences, up to so many steps or ms",
    right: "service",
    idempotent: false,
    ttl: 60_000,
    input: z.object({
      quantum: z.string(),
      model: z.string(),
      maxSteps: count,
      maxMs: count,
      tokenBudget: count,
      seqs: z.array(quantumSequence).min(1).max(1024),
    }),
    output: z.object({
      quantum: z.string(),
      ms: z.number(),
      /** Of all CPUs, by the device's process meanwhile. */
      cpuMs: z.number().optional(),
      steps: count,
      computedTokens: count,
      seqs: z.array(sequenceReport),
      freeBlocks: count,
    }),
  },
  drop: {
    kind: "call",
    what: "forget sequences and free their KV blocks, or put them aside",
    right: "service",
    idempotent: true,
    ttl: 5_000,
    /** `all`: every sequence of the model, after the scheduler forgot which there are. */
    input: z.object({
      model: z.string(),
      seqs: z.array(z.string()),
      all: z.boolean().default(false),
      /** `park`: they come back, their KV stays while there is room and then goes to files. `move`: to files at once. */
      aside: z.enum(["park", "move"]).optional(),
    }),
    output: z.object({ freeBlocks: count }),
  },
  interrupt: {
    kind: "call",
    what: "end the running quantum at its next step, or at once",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    /** `now`: the step that runs is given up where that can be, and quanta handed over before end without one. */
    input: z.object({ model: z.string(), now: z.boolean().default(false) }),
    output: none,
  },
  snapshot: {
    kind: "call",
    what: "write a sequence's KV, sampler and position to a file",
    right: "service",
    idempotent: true,
    ttl: 30_000,
    input: z.object({ model: z.string(), seq: z.string() }),
    output: z.object({ file: z.string(), bytes: count, position: count }),
  },
  restore: {
    kind: "call",
    what: "bring a snapshot back into KV blocks",
    right: "service",
    idempotent: true,
    ttl: 30_000,
    input: z.object({ model: z.string(), seq: z.string(), file: z.string() }),
    output: z.object({ position: count }),
  },
  hold: {
    kind: "call",
    what: "have trainings rest for so many ms; 0: go on",
    right: "service",
    idempotent: true,
    ttl: 1_000,
    input: z.object({ ms: count }),
    output: none,
  },
  train: {
    kind: "stream",
    what: "train; progress and checkpoints come as chunks",
    right: "service",
    idempotent: false,
    ttl: 0,
    input: z.object({
      job: z.string(),
      spec: record,
      data: blob,
      workers: count.optional(),
      checkpoint: blob.optional(),
    }),
    chunk: trainProgress,
    output: z.object({
      weights: blob,
      bytes: count,
      steps: count,
      loss: z.number(),
      validationLoss: z.number().optional(),
      stopped: z.string(),
    }),
  },
});
