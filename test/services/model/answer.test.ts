import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { Answer } from "../../../services/model/answer.ts";
import { END, textModel } from "./texts.ts";

const model = textModel();
const TEXT = "Hello 你好，世界 fox";
const ids = [...model.tokenizer.encode(TEXT), END];

/** The text of all pieces, and of the answer, when ids come in these cuts; with those at the end sent twice. */
function told(cuts: readonly number[], stop: readonly string[] = [], given: readonly number[] = []) {
  const answer = new Answer(model, stop, given);
  const before = answer.text;
  let text = "";
  let at = given.length;
  for (const cut of [...cuts, ids.length]) {
    const end = Math.min(ids.length, at + cut);
    // From one position earlier: as a sequence that was begun again elsewhere does.
    const from = Math.max(0, at - 1);
    text += answer.push(from, ids.slice(from, end))?.text ?? "";
    at = end;
  }
  text += answer.finish()?.text ?? "";
  return { text, before, answer };
}

const cuts = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 12 });

test("pieces joined are the text, however the ids came; an end gives no letter", () => {
  fc.assert(
    fc.property(cuts, (sizes) => {
      const { text, answer } = told(sizes);
      assert.is(text, TEXT);
      assert.is(answer.text, TEXT);
      assert.equal(answer.ids, ids);
    }),
  );
});

test("a stop string ends the text before it, wherever the cuts are", () => {
  fc.assert(
    fc.property(cuts, (sizes) => {
      const { text, answer } = told(sizes, ["，世"]);
      assert.is(text, "Hello 你好");
      assert.is(answer.stopped, "，世");
      assert.is(answer.push(answer.ids.length, [5]), undefined);
    }),
  );
});

test("gone on with from any id, it says exactly what was still to be said", () => {
  fc.assert(
    fc.property(cuts, fc.integer({ min: 0, max: ids.length }), (sizes, have) => {
      const { text, before, answer } = told(sizes, ["，世"], ids.slice(0, have));
      assert.is(before + text, "Hello 你好");
      assert.is(answer.text, "Hello 你好");
    }),
  );
});

test("a position that is missing is a loss, to be made good", () => {
  const answer = new Answer(model, []);
  answer.push(0, ids.slice(0, 2));
  try {
    answer.push(4, [7]);
    assert.unreachable();
  } catch (error) {
    assert.ok(isSomaError(error, "ESERVICEDOWN"));
  }
});

test("half a character at the end is shown as such", () => {
  const answer = new Answer(model, []);
  // Bytes follow the special tokens in the vocabulary: this is the first byte of a Chinese character.
  const half = 2 + 0xe4;
  assert.is(answer.push(0, [half])?.text, "");
  assert.is(answer.finish()?.text, "\ufffd");
});

test.run();
