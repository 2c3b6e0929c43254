import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { decodeDataset, exampleCount } from "../../../services/device/engine/dataset.ts";
import { parseSpec } from "../../../services/device/engine/spec.ts";
import { builtinRecipe } from "../../../services/model/builtin/recipe.ts";
import type { TrainInput } from "../../../services/model/hyper.ts";
import { type KeptExample, prepareText, prepareVectors, userRecipe } from "../../../services/model/prepare.ts";
import type { Example } from "../../../services/model/text/records.ts";
import { loadTokenizer } from "../../../services/model/text/tokenizer.ts";

const base = builtinRecipe();
const input = (extra: Partial<TrainInput> = {}): TrainInput => ({
  ...{ name: "mine", architecture: "llama", data: "blob:x", config: {}, hyper: {}, seed: 4 },
  ...extra,
});
const corpus: Example[] = Array.from({ length: 60 }, (_, i) => ({
  task: i % 2 ? "translate" : "moderate",
  source: `sentence number ${i}`,
  target: i % 2 ? `第${i}句` : "safe",
  origin: "user",
}));

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (isSomaError(error, "EINVAL")) return error.message;
    throw error;
  }
  return "it was accepted";
}

const made = prepareText(userRecipe(base, corpus, input()), corpus, input());
const dataset = decodeDataset(made.dataset);
const kept = String(made.files["examples.jsonl"])
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as KeptExample);

test("every example is in one split of the dataset, and those held out are kept with the model", () => {
  const count = (["train", "validation", "test"] as const).map((split) => exampleCount(dataset, split));
  assert.is(count[0]! + count[1]! + count[2]!, corpus.length);
  const keptIn = (split: string) => kept.filter((example) => example.split === split).length;
  assert.equal([keptIn("validation"), keptIn("test")], count.slice(1));
  const sources = new Set(kept.map(({ source }) => source));
  assert.is(sources.size, kept.length);
});

test("tasks of a user get markers and templates of their own; languages are not limited", () => {
  const { tasks } = made.templates!;
  assert.equal(Object.keys(tasks).sort(), ["moderate", "translate"]);
  assert.equal((tasks.moderate as { prompt: string[] }).prompt, ["<|bos|>", "<|moderate|>", "{source}", "<|answer|>"]);
  assert.is(tasks.translate?.only, undefined);
  const tokenizer = loadTokenizer(made.files["tokenizer.json"]);
  assert.ok(tokenizer.isSpecial(tokenizer.idOf("<|moderate|>")));
});

test("the files and the spec say the same of the model", () => {
  const config = made.files["config.json"] as Record<string, unknown>;
  assert.is(config.vocab_size, loadTokenizer(made.files["tokenizer.json"]).vocabSize);
  const spec = parseSpec(made.spec);
  assert.equal(spec.config, config);
  assert.is(spec.seed, 4);
  assert.equal(made.stopIds, [config.eos_token_id]);
});

test("the same data gives the same files and hash", () => {
  const again = prepareText(userRecipe(base, corpus, input()), corpus, input());
  assert.equal(again, made);
});

test("what does not fit the context is left out, and said; nothing left is refused", () => {
  const long = { ...corpus[0]!, source: "far too long ".repeat(100) };
  assert.match(
    prepareText(userRecipe(base, corpus, input()), [...corpus, long], input()).note,
    /1 examples do not fit/,
  );
  assert.match(
    refusal(() => prepareText(userRecipe(base, [long], input()), [long], input())),
    /1 are longer/,
  );
});

test("bad tasks and vocabularies are named", () => {
  const odd = [{ ...corpus[0]!, task: "<|end|>" }];
  assert.match(
    refusal(() => userRecipe(base, odd, input())),
    /"<\|end\|>" is no task name/,
  );
  assert.match(
    refusal(() => userRecipe(base, corpus, input({ config: { vocab_size: 10 } }))),
    /vocab_size is 10/,
  );
});

test("vectors: random numbers need layers, given ones must fit them", () => {
  const random = input({ architecture: "mlp", data: "random", hyper: { examples: 32 }, config: { layers: [5, 8, 3] } });
  const vectors = prepareVectors(undefined, random);
  assert.equal(parseSpec(vectors.spec).config.layers, [5, 8, 3]);
  assert.is(exampleCount(decodeDataset(vectors.dataset), "train"), 32);
  assert.match(vectors.note, /by heart/);
  assert.match(
    refusal(() => prepareVectors(undefined, { ...random, config: {} })),
    /config\.layers/,
  );
});

test.run();
