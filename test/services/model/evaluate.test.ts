import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Engine, evaluate } from "../../../services/model/evaluate.ts";
import { END, textModel } from "./texts.ts";

const model = textModel({ translate: { prompt: ["<|bos|>", "{source}"], target: ["{target}", "<|end|>"] } });
const example = (source: string, target: string) => ({ task: "translate", source, target, origin: "x" });
const examples = [example("Hello", "你好"), example("World", "世界")];
const { tokenizer } = model;

/** Says `answers[i]` to the i-th source, each scored id is worth -0.5. */
function engine(answers: Record<string, string>): Engine & { asked: { maxNew: number }[]; most: number } {
  let running = 0;
  const made = {
    asked: [] as { maxNew: number }[],
    most: 0,
    async answer(ids: readonly number[], maxNew: number) {
      made.asked.push({ maxNew });
      made.most = Math.max(made.most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return [...tokenizer.encode(answers[tokenizer.decode(ids)] ?? ""), END];
    },
    score: async (_ids: readonly number[], scored: number) => new Array<number>(scored).fill(-0.5),
  };
  return made;
}

test("answers are compared with their references, the end is no part of them", async () => {
  const all = await evaluate(model, examples, engine({ Hello: "你好", World: "世界" }));
  assert.equal([all.cases, all.exactMatch, Math.round(all.chrf)], [2, 1, 100]);
  const half = await evaluate(model, examples, engine({ Hello: "你好", World: "你好" }));
  assert.is(half.exactMatch, 0.5);
  assert.equal(
    half.samples.map(({ source, output, correct }) => [source, output, correct]),
    [
      ["Hello", "你好", true],
      ["World", "你好", false],
    ],
  );
});

test("the loss is the mean over the learned ids, and an answer gets room for twice its reference", async () => {
  const double = engine({});
  assert.is((await evaluate(model, examples, double)).loss, 0.5);
  const target = tokenizer.encode("你好").length + 1;
  assert.is(double.asked[0]!.maxNew, 2 * target + 8);
});

test("many examples go in part at a time, and come back in order", async () => {
  const many = Array.from({ length: 100 }, (_, i) => example(`fox ${i}`, `${i}`));
  const double = engine(Object.fromEntries(many.map(({ source, target }) => [source, target])));
  assert.is((await evaluate(model, many, double)).exactMatch, 1);
  assert.ok(double.most > 1 && double.most <= 32, String(double.most));
});

test("nothing to measure with, and a failure of the engine, are failures", async () => {
  const failing: Engine = { ...engine({}), score: () => Promise.reject(new Error("lost")) };
  for (const [list, double, message] of [
    [[], engine({}), /no examples/],
    [examples, failing, /lost/],
  ] as const) {
    const error = await evaluate(model, list, double).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    assert.match(error?.message ?? "it succeeded", message);
  }
});

test.run();
