// What counts as a word.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { words } from "../../../../services/memory/rows/words.ts";

test("words are lower-cased runs of letters and digits of any script, forms of one letter alike", () => {
  assert.equal(words("The Cat's 2nd Été, ﬁne! Ａｂｃ Привет नमस्ते 한국어"), [
    ...["the", "cat", "s", "2nd", "été", "fine", "abc", "привет", "नमस्ते", "한국어"],
  ]);
  assert.equal(words("e\u0301te\u0301"), words("été"));
  assert.equal(words("  …!? "), []);
});

test("of scripts without spaces each character and each pair is a word; a question asks for the pairs", () => {
  assert.equal(words("今天好"), ["今", "天", "好", "今天", "天好"]);
  assert.equal(words("今天好", true), ["今天", "天好"]);
  assert.equal(words("猫", true), ["猫"]);
  assert.equal(words("gpt4和コーヒー", true), ["gpt4", "和コ", "コー", "ーヒ", "ヒー"]);
  assert.equal(words("𠮷野家", true), ["𠮷野", "野家"]);
});

test.run();
