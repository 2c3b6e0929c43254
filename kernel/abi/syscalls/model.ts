// Owns the model service's calls: what people come for.
import { z } from "zod";
import { table } from "../syscall.ts";
import { blob, count, json, none, record } from "./common.ts";
import { dataRef } from "./data.ts";
import { pooling, sampling, trainProgress } from "./device.ts";
import { deviceRef, usage } from "./scheduler.ts";

/** `name`, `name@version`, or an alias. */
export const modelRef = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[0-9]+)?$/, "use name or name@version");
const stops = z.array(z.string().min(1).max(64)).max(8).default([]);
const common = {
  model: modelRef.default("default"),
  sample: sampling.prefault({}),
  maxTokens: count.max(1_000_000).optional(),
  stop: stops,
  /** A device or a part of one, where alone it may run. */
  device: deviceRef.optional(),
  /** Ids that the caller has already, to go on where a lost instance stopped. */
  resume: z
    .object({ ids: z.array(count), numerics: z.string().optional(), approximate: z.boolean().default(false) })
    .optional(),
};
/** What a chat template is told of a tool; `parameters` is a JSON Schema. */
const tool = z.object({
  type: z.literal("function").default("function"),
  function: z.object({
    name: z.string().min(1).max(64),
    description: z.string().optional(),
    parameters: record.optional(),
  }),
});
/** `arguments` is JSON text, as the model wrote it. */
export const toolCall = z.object({ id: z.string(), name: z.string(), arguments: z.string() });
const message = z.object({
  role: z.string(),
  content: z.string(),
  /** Of an assistant's turn: what it called. */
  toolCalls: z.array(toolCall).optional(),
  /** Of a tool's turn: which call it answers. */
  toolCallId: z.string().optional(),
  name: z.string().optional(),
});
/** A JSON value of `schema` (json_schema), or any JSON object. */
const format = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({ type: z.literal("json_schema"), schema: record }),
]);
/** `pos` counts new tokens from 0. Concatenated texts are the answer. */
export const textChunk = z.object({
  pos: count,
  ids: z.array(count),
  text: z.string(),
  /** Asked for with `logprobs`: one for each id, of the model's own distribution. */
  logprobs: z.array(z.number()).optional(),
  /** Likewise: the text of each id, and the likeliest ids at its place. */
  tokens: z.array(z.string()).optional(),
  topLogprobs: z.array(z.array(z.object({ id: count, token: z.string(), logprob: z.number() }))).optional(),
  /** With the first chunk: what a resubmission names so that it goes on exactly. */
  numerics: z.string().optional(),
});
/** The end of every text stream names what made it. */
export const textEnd = z.object({
  text: z.string(),
  finish: z.enum(["stop", "length", "blocks", "toolCalls"]),
  /** Calls of `tools` that the answer makes; they are not part of its text. */
  toolCalls: z.array(toolCall).optional(),
  model: z.string(),
  version: count,
  numerics: z.string(),
  seed: count,
  usage,
});

/** Of all sequences that a call ran; `cachedTokens` of the prompt were shared with others and not computed. */
const promptUsage = z.object({ promptTokens: count, computedTokens: count, cachedTokens: count });

export const modelRow = z.object({
  name: z.string(),
  version: count,
  aliases: z.array(z.string()),
  architecture: z.string(),
  parameters: count,
  bytes: count,
  state: z.string(),
  createdAt: z.number(),
  loss: z.number().optional(),
  record,
});
export const jobRow = z.object({
  id: z.string(),
  kind: z.string(),
  state: z.string(),
  owner: z.string(),
  model: z.string(),
  submittedAt: z.number(),
  updatedAt: z.number(),
  progress: trainProgress.optional(),
  error: z.string().optional(),
  attempts: count,
  result: record.optional(),
});

const lossPoint = z.object({ step: count, loss: z.number(), validationLoss: z.number().optional() });

export const model = table({
  generate: {
    kind: "stream",
    what: "continue a text, or answer a chat",
    right: "app",
    idempotent: false,
    ttl: 600_000,
    input: z.object({
      ...common,
      prompt: z.string().optional(),
      messages: z.array(message).optional(),
      task: z.string().optional(),
      /** EINVAL when the schema has what is not supported, or nothing of it fits maxTokens. */
      format: format.optional(),
      /** With messages, for models whose chat template knows tools. */
      tools: z.array(tool).max(64).optional(),
      /** The model chooses; it calls none; it calls one; it calls the one named. */
      toolChoice: z.union([z.enum(["auto", "none", "required"]), z.object({ name: z.string() })]).default("auto"),
      /** Log-probability of each token, and of so many likeliest ones beside it. */
      logprobs: count.max(20).optional(),
    }),
    chunk: textChunk,
    output: textEnd,
  },
  translate: {
    kind: "stream",
    what: "translate a text",
    right: "app",
    idempotent: false,
    ttl: 600_000,
    input: z.object({ ...common, text: z.string(), from: z.string().default("en"), to: z.string().default("zh") }),
    chunk: textChunk,
    output: textEnd,
  },
  score: {
    kind: "call",
    what: "log-probability of each completion after a prompt",
    right: "app",
    idempotent: true,
    ttl: 60_000,
    input: z.object({
      model: modelRef.default("default"),
      prompt: z.string(),
      completions: z.array(z.string()).min(1).max(64),
    }),
    output: z.object({
      scores: z.array(
        z.object({
          completion: z.string(),
          /** The sum over its tokens, and what that is among the completions given: shares add up to 1. */
          logprob: z.number(),
          share: z.number(),
          tokens: count,
        }),
      ),
      usage: promptUsage,
      model: z.string(),
      version: count,
    }),
  },
  classify: {
    kind: "call",
    what: "which label a text has: the one likeliest to come next, by log-probability",
    right: "app",
    idempotent: true,
    ttl: 120_000,
    input: z.object({
      model: modelRef.default("default"),
      texts: z.array(z.string()).min(1).max(64),
      labels: z.array(z.string().min(1).max(256)).min(2).max(64),
      /** What comes before a label; {text} and {labels} are filled in. */
      template: z.string().max(8192).default("{text}\n\nWhich of {labels} describes this text? Answer: "),
      /** Puts the template into the model's chat template, as a user's turn. */
      chat: z.boolean().default(false),
      /** Divides by what each label gets when the text is empty: a model prefers some words whatever it reads. */
      calibrate: z.boolean().default(false),
    }),
    output: z.object({
      /** In the order of texts; labels likeliest first. */
      results: z.array(
        z.object({
          label: z.string(),
          labels: z.array(z.object({ label: z.string(), logprob: z.number(), share: z.number(), tokens: count })),
        }),
      ),
      model: z.string(),
      version: count,
      usage: promptUsage,
    }),
  },
  embed: {
    kind: "call",
    what: "one vector for each text: its final hidden states, pooled",
    right: "app",
    idempotent: true,
    ttl: 60_000,
    input: z.object({
      model: modelRef.default("default"),
      /** A text, or the ids of one as `tokenize` gives them. */
      texts: z
        .array(z.union([z.string(), z.array(count)]))
        .min(1)
        .max(64),
      pooling: pooling.default("mean"),
      /** Scales each vector to length 1. */
      normalize: z.boolean().default(false),
    }),
    output: z.object({
      vectors: z.array(z.array(z.number())),
      model: z.string(),
      version: count,
      usage: promptUsage,
    }),
  },
  tokenize: {
    kind: "call",
    what: "turn text into ids and back into pieces",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: z.object({ model: modelRef.default("default"), text: z.string() }),
    output: z.object({ ids: z.array(count), pieces: z.array(z.string()) }),
  },
  list: {
    kind: "call",
    what: "list models",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: none,
    output: z.object({ models: z.array(modelRow) }),
  },
  show: {
    kind: "call",
    what: "show a model's record: config, data, losses, evaluation, parent",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: z.object({ model: modelRef }),
    output: modelRow,
  },
  train: {
    kind: "submit",
    what: "train a model; acknowledged once it is in the journal",
    right: "app",
    idempotent: true,
    ttl: 30_000,
    input: z.object({
      name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
      architecture: z.enum(["llama", "mlp"]).default("llama"),
      /** JSONL of examples or `data:NAME` (llama), MessagePack {features, targets, shape} (mlp); "builtin": the corpus that ships; "random": for an mlp, made from the seed. */
      data: z.union([blob, dataRef.startsWith("data:"), z.enum(["builtin", "random"])]),
      config: record.default({}),
      hyper: record.default({}),
      deploy: z.string().optional(),
      seed: count.default(1),
    }),
    output: z.object({ job: z.string() }),
  },
  job: {
    kind: "call",
    what: "show a job",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ job: z.string() }),
    /** `curve`: losses over steps, thinned to some hundred points. */
    output: jobRow.extend({ curve: z.array(lossPoint) }),
  },
  jobs: {
    kind: "call",
    what: "list jobs",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({ jobs: z.array(jobRow) }),
  },
  follow: {
    kind: "stream",
    what: "watch a job until it ends",
    right: "app",
    idempotent: true,
    ttl: 0,
    input: z.object({ job: z.string() }),
    chunk: jobRow,
    output: jobRow,
  },
  stop: {
    kind: "call",
    what: "cancel a job; its last checkpoint stays",
    right: "app",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ job: z.string() }),
    output: jobRow,
  },
  allJobs: {
    kind: "call",
    what: "list everybody's jobs, one with its loss curve",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ curve: z.string().optional() }),
    output: z.object({
      jobs: z.array(jobRow),
      /** Of the job that `curve` names. */
      curve: z.array(lossPoint),
    }),
  },
  deploy: {
    kind: "call",
    what: "point an alias at a version and load it",
    right: "person",
    idempotent: true,
    ttl: 120_000,
    input: z.object({
      model: modelRef,
      alias: z
        .string()
        .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
        .default("default"),
      dtype: z.enum(["f32", "int8", "int4"]).optional(),
    }),
    output: z.object({ alias: z.string(), model: z.string(), version: count, previous: z.string().nullable() }),
  },
  evaluate: {
    kind: "call",
    what: "measure a model on one of its held-out splits",
    right: "person",
    idempotent: true,
    ttl: 600_000,
    input: z.object({
      model: modelRef.default("default"),
      split: z.enum(["train", "validation", "test", "handwritten"]).default("test"),
      limit: count.optional(),
    }),
    output: z.object({
      cases: count,
      exactMatch: z.number(),
      chrf: z.number(),
      loss: z.number(),
      samples: z.array(json),
    }),
  },
  importDir: {
    kind: "call",
    what: "register a GGUF file, or a folder with config.json, tokenizer.json and safetensors",
    right: "person",
    idempotent: false,
    ttl: 600_000,
    input: z.object({ dir: z.string(), name: z.string() }),
    output: modelRow,
  },
  pull: {
    kind: "stream",
    what: "fetch a model from a Hugging Face hub and register it; goes on where it was cut off",
    right: "person",
    idempotent: false,
    ttl: 0,
    input: z.object({
      /** OWNER/NAME, or OWNER/NAME@REVISION. */
      repo: z.string().max(256),
      /** The model's name here; unasked, the repository's. */
      name: z.string().optional(),
      /** Which of several GGUF files. */
      file: z.string().optional(),
    }),
    chunk: z.object({ file: z.string(), done: count, total: count }),
    output: modelRow,
  },
  export: {
    kind: "call",
    what: "copy a model's files into a folder",
    right: "person",
    idempotent: true,
    ttl: 120_000,
    input: z.object({ model: modelRef, dir: z.string() }),
    output: z.object({ files: z.array(z.string()) }),
  },
  remove: {
    kind: "call",
    what: "delete a version that no alias names",
    right: "person",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ model: modelRef }),
    output: none,
  },
});
