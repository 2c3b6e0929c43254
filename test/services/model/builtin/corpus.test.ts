// Owns the tests of the built-in corpus, its splits and its examples.
import { existsSync, readdirSync, statSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { builtinCorpus } from "../../../../services/model/builtin/corpus.ts";
import { builtinExamples } from "../../../../services/model/builtin/examples.ts";
import { builtinRecipe, builtinTokenizer } from "../../../../services/model/builtin/recipe.ts";
import { SPLITS, sourceKey, splitOf } from "../../../../services/model/builtin/split.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";

const corpus = builtinCorpus();
const recipe = builtinRecipe();
const tokenizer = loadTokenizer(builtinTokenizer(recipe, corpus));
const examples = builtinExamples(recipe, tokenizer, corpus);
const handwritten = corpus.filter((item) => item.origin === "handwritten");
const real = corpus.filter((item) => item.origin !== "handwritten");

test("the hand-written set has its two known sentences and enough company", () => {
  const target = (source: string) => handwritten.filter((item) => item.source === source).map((item) => item.target);
  assert.equal(target("今天天气很好"), ["明天阳光明媚"]);
  assert.equal(target("Hello World"), ["你好，世界"]);
  assert.ok(handwritten.length >= 220);
  for (const task of ["translate", "continue"])
    assert.ok(handwritten.filter((item) => item.task === task).length >= 100);
});

test("every source, spaces and case aside, is there once: no two targets contradict, nothing crosses a split", () => {
  const keys = corpus.map((item) => sourceKey(item.source));
  assert.is(new Set(keys).size, keys.length);
  const splitOfKey = new Map<string, string>();
  for (const item of corpus) {
    const key = sourceKey(item.source);
    assert.is(splitOfKey.get(key) ?? splitOf(item), splitOf(item));
    splitOfKey.set(key, splitOf(item));
  }
});

test("a source keeps its split whatever its case and spaces", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...real),
      fc.constantFrom(" ", "  ", "\t", "\u3000"),
      fc.boolean(),
      (item, space, upper) => {
        const text = ` ${item.source.replaceAll(" ", space)} `;
        // Letters that change their length in upper case ("ß") are not the same text for anybody.
        const source = upper && text.toUpperCase().toLowerCase() === text.toLowerCase() ? text.toUpperCase() : text;
        assert.is(splitOf({ ...item, source }), splitOf(item));
      },
    ),
    { numRuns: 500 },
  );
});

test("about 90, 5 and 5 percent of the real items; the hand-written ones are all to learn", () => {
  const share = (split: string) => real.filter((item) => splitOf(item) === split).length / real.length;
  assert.ok(Math.abs(share("train") - 0.9) < 0.02);
  assert.ok(Math.abs(share("validation") - 0.05) < 0.015);
  assert.ok(Math.abs(share("test") - 0.05) < 0.015);
  assert.ok(handwritten.every((item) => splitOf(item) === "train"));
});

test("real items are one line from English to Chinese, from a known place", () => {
  for (const { source, target, task, origin } of real) {
    assert.ok(origin === "monaco" || origin === "cldr", origin);
    assert.is(task, "translate");
    assert.match(source, /[A-Za-z]/);
    assert.match(target, /\p{Script=Han}/u);
    assert.not.match(source + target, /[\r\n]|&&/);
    assert.is(source.trim() + target.trim(), source + target);
  }
  assert.ok(real.length > 3000);
});

test("every item is an example of its split or reported as too long", () => {
  const placed = SPLITS.flatMap((split) => examples.splits[split].map((example) => ({ split, ...example })));
  assert.is(placed.length + examples.tooLong.length, corpus.length);
  assert.ok(
    examples.tooLong.length < 0.01 * corpus.length && examples.tooLong.every((item) => item.origin === "monaco"),
  );
  for (const { split, item, ids, promptLength, weight } of placed) {
    assert.is(splitOf(item), split);
    assert.ok(ids.length <= recipe.config.max_position_embeddings);
    assert.is(tokenizer.decode(ids.slice(promptLength)), item.target);
    assert.is(ids.at(-1), tokenizer.idOf("<|end|>"));
    assert.is(weight, recipe.sampling[item.origin]);
  }
});

test("all hand-written items have one weight", () => {
  const weights = examples.splits.train.filter(({ item }) => item.origin === "handwritten").map(({ weight }) => weight);
  assert.is(weights.length, handwritten.length);
  assert.is(new Set(weights).size, 1);
});

test("the tokenizer has not seen what is held out", () => {
  const train = corpus.filter((item) => splitOf(item) === "train");
  assert.equal(builtinTokenizer(recipe, train), builtinTokenizer(recipe, corpus));
});

test("licences lie beside the data, and the folder stays small", () => {
  const folder = new URL("../../../../services/model/builtin/", import.meta.url);
  for (const name of ["NOTICE", "LICENSE-monaco-editor", "LICENSE-unicode"])
    assert.ok(existsSync(new URL(name, folder)));
  const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(new URL(name, folder)).size, 0);
  assert.ok(bytes < 600_000, `${bytes} bytes`);
});

test.run();
