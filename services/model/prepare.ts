// Owns what lies between data and training: which texts are learned and which held out, the tokenizer, the model's files. Pure.
import { createHash } from "node:crypto";
import { SomaError } from "../../kernel/abi/errors.ts";
import { builtinExamples, type Examples } from "./builtin/examples.ts";
import { builtinTokenizer, modelFiles, type Recipe } from "./builtin/recipe.ts";
import { encodeTokens, encodeVectors } from "./dataset.ts";
import { type Hyper, readHyper, type TrainInput, trainingSpec } from "./hyper.ts";
import type { Example } from "./text/records.ts";
import type { TaskTemplate, Templates } from "./text/templates.ts";
import { loadTokenizer } from "./text/tokenizer.ts";
import { randomVectors, readVectors } from "./vectors.ts";

export interface Preparation {
  /** Files of the model's folder but its weights; objects are JSON. */
  files: Record<string, object | string>;
  /** For the device. */
  dataset: Uint8Array;
  spec: Record<string, unknown>;
  /** SHA-256 of the texts or numbers themselves. */
  dataHash: string;
  /** For whoever reads the record: what was memorised, what was held out. */
  note: string;
  templates?: Templates;
  stopIds?: number[];
}

/** A line of examples.jsonl, which a model carries so that it can be measured later. */
export interface KeptExample extends Example {
  split: "train" | "validation" | "test" | "handwritten";
}

/** So many of the training split go along: enough to see what was memorised, without a copy of all data. */
const KEPT_TRAIN = 200;
const TASK = /^[a-z][a-z0-9-]{0,31}$/;
const USER_TEXT: Hyper & { batch: number } = { batch: 16, epochs: 40, lr: 0.003, warmup: 50, evaluateEvery: 100 };
const VECTORS: Hyper & { batch: number } = {
  optimizer: "adam",
  lr: 0.001,
  schedule: "constant",
  batch: 32,
  epochs: 100,
  clip: 0,
  evaluateEvery: 100,
};

/** The recipe for a user's data: the built-in architecture and markers, with the tasks that the data has. */
export function userRecipe(base: Recipe, corpus: readonly Example[], { name, config }: TrainInput): Recipe {
  const tasks = [...new Set(corpus.map((example) => example.task))];
  const bad = tasks.find((task) => !TASK.test(task));
  if (bad !== undefined) throw new SomaError("EINVAL", `"${bad}" is no task name: use a-z, 0-9 and "-", 32 at most`);
  const { vocab_size: vocabSize = base.tokenizer.vocabSize, ...shape } = config;
  if (!Number.isInteger(vocabSize) || Number(vocabSize) < 300 || Number(vocabSize) > 60_000) {
    throw new SomaError("EINVAL", `config.vocab_size is ${vocabSize}: use 300 to 60000`);
  }
  const [opening = "", answer = ""] = [base.templates.bos, "<|answer|>"];
  const target = ["{target}", base.templates.eos];
  const templates = Object.fromEntries(
    tasks.map((task) => [
      task,
      // Which languages a user's pairs are in is not known: none is refused.
      known(base, task) ?? { prompt: [opening, `<|${task}|>`, "{source}", answer], target },
    ]),
  );
  const markers = tasks.filter((task) => task !== "complete").map((task) => `<|${task}|>`);
  return {
    ...base,
    name,
    config: { ...base.config, ...shape } as Recipe["config"],
    tokenizer: {
      vocabSize: Number(vocabSize),
      specials: [...new Set([...base.tokenizer.specials, ...markers])],
    },
    templates: { ...base.templates, tasks: templates },
    sampling: Object.fromEntries(corpus.map(({ origin }) => [origin, 1])),
  };
}

function known({ templates }: Recipe, task: string): TaskTemplate | undefined {
  const template = templates.tasks[task];
  if (template === undefined) return undefined;
  const { only: _, ...rest } = template;
  return rest;
}

/** Text data: examples in order; `recipe` says all else. */
export function prepareText(recipe: Recipe, corpus: readonly Example[], input: TrainInput): Preparation {
  const json = builtinTokenizer(recipe, corpus);
  const files = modelFiles(recipe, json);
  const examples = builtinExamples(recipe, loadTokenizer(json), corpus);
  const { splits, tooLong } = examples;
  if (splits.train.length === 0) {
    const why = tooLong.length > 0 ? `${tooLong.length} are longer than the context` : "there is none";
    throw new SomaError("EINVAL", `no example is left to train on: ${why}`);
  }
  const own = input.data === "builtin" ? recipeDefaults(recipe) : USER_TEXT;
  return {
    files: {
      ...files,
      "tokenizer.json": json,
      "examples.jsonl": kept(examples)
        .map((example) => `${JSON.stringify(example)}\n`)
        .join(""),
    },
    dataset: encodeTokens(splits),
    spec: trainingSpec({
      architecture: "llama",
      config: files["config.json"] as Record<string, unknown>,
      hyper: readHyper(input.hyper),
      defaults: own,
      examples: splits.train.length,
      seed: input.seed,
    }),
    dataHash: sha256(JSON.stringify(corpus)),
    note: noteOf(examples),
    templates: recipe.templates,
    stopIds: [json.model.vocab[recipe.templates.eos]!],
  };
}

/** Numbers: a network over vectors. Without bytes the data is random, made from the seed. */
export function prepareVectors(bytes: Uint8Array | undefined, input: TrainInput): Preparation {
  const hyper = readHyper(input.hyper);
  const { hidden = [128], ...rest } = input.config;
  const vectors = bytes ? readVectors(bytes) : randomOf(rest.layers, hyper.examples ?? 1_000, input.seed);
  const { width, outputs, rows, splits } = vectors;
  const layers = rest.layers ?? [width, ...(hidden as number[]), outputs];
  if (!Array.isArray(layers) || layers[0] !== width || layers.at(-1) !== outputs) {
    throw new SomaError("EINVAL", `config.layers is [${layers}]: the data needs it to go from ${width} to ${outputs}`);
  }
  const config = {
    model_type: "mlp",
    loss: splits.train.labels ? "crossEntropy" : "squaredError",
    ...rest,
    layers,
  };
  const examples = splits.train.features.length / width;
  const dataset = encodeVectors(width, outputs, splits);
  return {
    files: { "config.json": config },
    dataset,
    spec: trainingSpec({ architecture: "mlp", config, hyper, defaults: VECTORS, examples, seed: input.seed }),
    dataHash: sha256(dataset),
    note: bytes
      ? `${examples} of ${rows} rows were trained on, ${rows - examples} validated`
      : `${rows} rows of random numbers, learned by heart: there is nothing else to learn in them`,
  };
}

function randomOf(layers: unknown, rows: number, seed: number) {
  const [width, outputs] = Array.isArray(layers) ? [layers[0], layers.at(-1)] : [];
  if (!Number.isSafeInteger(width) || !Number.isSafeInteger(outputs) || width < 1 || outputs < 1) {
    throw new SomaError("EINVAL", "random data needs config.layers, such as [100, 128, 100]");
  }
  return randomVectors(rows, width, outputs, seed);
}

/** Without its own word on it, a recipe is validated, and so kept as a checkpoint, five times. */
function recipeDefaults({ training: { seed: _, ...training } }: Recipe): Hyper & { batch: number } {
  return { ...training, evaluateEvery: training.evaluateEvery || Math.ceil(training.steps / 5) };
}

function kept({ splits }: Examples): KeptExample[] {
  const of = (split: "train" | "validation" | "test") => splits[split].map(({ item }) => item);
  const written = of("train").filter(({ origin }) => origin === "handwritten");
  const learned = of("train").filter(({ origin }) => origin !== "handwritten");
  const label = (split: KeptExample["split"], items: Example[]) => items.map((item) => ({ split, ...item }));
  return [
    ...label("handwritten", written),
    ...label("train", learned.slice(0, KEPT_TRAIN)),
    ...label("validation", of("validation")),
    ...label("test", of("test")),
  ];
}

function noteOf({ splits, tooLong }: Examples): string {
  const written = splits.train.filter(({ item }) => item.origin === "handwritten").length;
  const notes = [
    `${splits.train.length} examples were trained on, ${splits.validation.length} validated, ${splits.test.length} held out for the test`,
  ];
  if (written > 0)
    notes.push(`${written} hand-written examples are a part of the training data: they are meant to be memorised`);
  if (tooLong.length > 0) notes.push(`${tooLong.length} examples do not fit the context and were left out`);
  if (splits.test.length === 0)
    notes.push("too little data for a held-out test: what the model can do elsewhere is unknown");
  return `${notes.join(". ")}.`;
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
