import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { SYSCALLS } from "../../../kernel/abi/syscalls.ts";
import { planEmbed, planGenerate, planScore, planTranslate } from "../../../services/model/plan.ts";
import { textModel } from "./texts.ts";

const model = textModel();
const generate = (input: object) => SYSCALLS.model.generate.input.parse(input);
const translate = (input: object) => SYSCALLS.model.translate.input.parse(input);
const seed = () => 77;

function refuses(work: () => unknown, ...parts: RegExp[]) {
  try {
    work();
  } catch (error) {
    if (!isSomaError(error, "EINVAL")) throw error;
    for (const part of parts) assert.match(error.message, part);
    return;
  }
  assert.unreachable("it was accepted");
}

test("a prompt becomes ids, and takes what room is left", () => {
  const plan = planGenerate(model, generate({ prompt: "Hello" }), seed);
  assert.equal(plan.prompt, [0, ...model.tokenizer.encode("Hello")]);
  assert.is(plan.maxNew, 64 - plan.prompt.length);
  assert.is(planGenerate(model, generate({ prompt: "Hello", maxTokens: 5 }), seed).maxNew, 5);
  assert.is(planGenerate(model, generate({ prompt: "Hello", maxTokens: 5000 }), seed).maxNew, 64 - plan.prompt.length);
});

test("a seed is chosen where none is named, and kept where one is", () => {
  assert.is(planGenerate(model, generate({ prompt: "a" }), seed).sample.seed, 77);
  assert.is(planGenerate(model, generate({ prompt: "a", sample: { seed: 5 } }), seed).sample.seed, 5);
});

test("a prompt that is longer than the context is refused with the figures", () => {
  refuses(
    () => planGenerate(model, generate({ prompt: "z".repeat(64) }), seed),
    /65 tokens/,
    /context 64/,
    /63 at most/,
  );
  assert.is(planGenerate(model, generate({ prompt: "z".repeat(62) }), seed).maxNew, 1);
  refuses(() => planScore(model, "z".repeat(60), "zzzz"), /65 tokens/);
  refuses(() => planEmbed(model, "z".repeat(64)), /65 tokens/);
});

test("prompt and messages exclude each other; one of them is needed", () => {
  refuses(() => planGenerate(model, generate({}), seed), /either/);
  refuses(() => planGenerate(model, generate({ prompt: "a", messages: [] }), seed), /either/);
  refuses(
    () => planGenerate(model, generate({ messages: [{ role: "user", content: "a" }] }), seed),
    /no chat template/,
  );
});

test("a bare prompt uses the task that the model learned for going on", () => {
  const marked = textModel({ continue: { prompt: ["<|bos|>", "<|end|>", "{source}"] } });
  assert.equal(planGenerate(marked, generate({ prompt: "a" }), seed).prompt.slice(0, 2), [0, 1]);
  refuses(() => planGenerate(marked, generate({ prompt: "a", task: "sing" }), seed), /no task "sing"/, /continue/);
});

test("a translation is refused for pairs and models that do not translate, by name of what they can", () => {
  const pairs = { prompt: ["<|bos|>", "{source}"], only: { from: ["en"], to: ["zh"] } };
  const able = textModel({ translate: pairs });
  assert.ok(planTranslate(able, translate({ text: "Hello" }), seed).prompt.length > 1);
  refuses(() => planTranslate(able, translate({ text: "Hello", to: "fr" }), seed), /zh/, /fr/);
  refuses(() => planTranslate(able, translate({ text: "Hello", to: "!" }), seed), /language code/);
  refuses(() => planTranslate(model, translate({ text: "Hello" }), seed), /complete/);
});

test("what is to be resumed must be ids of this model", () => {
  refuses(() => planGenerate(model, generate({ prompt: "a", resume: { ids: [99999] } }), seed), /resume.ids/);
  const plan = planGenerate(model, generate({ prompt: "a", resume: { ids: [5], numerics: "n" } }), seed);
  assert.equal([plan.given, plan.numerics, plan.approximate], [[5], "n", false]);
});

test("a score counts the completion's ids alone", () => {
  const { ids, scored } = planScore(model, "Hello", " World");
  assert.equal(ids.slice(-scored), model.tokenizer.encode(" World"));
  refuses(() => planScore(model, "Hello", ""), /empty/);
});

test.run();
