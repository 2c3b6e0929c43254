// Owns the tests of incremental decoding.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { trainBpe } from "../../../../services/model/text/bpe.ts";
import { Detokenizer } from "../../../../services/model/text/detokenize.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";
import { anyText } from "./texts.ts";

// So few merges that most Chinese characters and every emoji are several ids.
const json = trainBpe(["今天天气很好", "明天天气"], { vocabSize: 270, specials: ["<|bos|>", "<|end|>"] });
const tokenizer = loadTokenizer(json);

/** Cuts a list at random places. */
function pieces<T>(list: readonly T[], cuts: readonly number[]): T[][] {
  const at = [...new Set(cuts.map((cut) => cut % (list.length + 1)))].sort((a, b) => a - b);
  return [...at, list.length].map((end, i) => list.slice(i === 0 ? 0 : at[i - 1]!, end));
}

test("the pieces, joined, are the whole text, however the ids are cut, and no piece holds half a character", () => {
  fc.assert(
    fc.property(anyText(["<|end|>"]), fc.array(fc.nat(200)), (text, cuts) => {
      const stream = new Detokenizer(tokenizer);
      const shown = pieces(tokenizer.encode(text), cuts).map((ids) => stream.push(ids));
      assert.is(stream.flush(), "");
      assert.is(shown.join(""), text);
      if (!text.includes("\ufffd")) for (const piece of shown) assert.not.ok(piece.includes("\ufffd"));
    }),
    { numRuns: 500 },
  );
});

test("any ids at all, even broken UTF-8, give the same text in pieces as at once", () => {
  const ids = fc.array(fc.nat(tokenizer.vocabSize + 3), { maxLength: 40 });
  fc.assert(
    fc.property(ids, fc.array(fc.nat(200)), fc.boolean(), (list, cuts, specials) => {
      const stream = new Detokenizer(tokenizer, { specials });
      const joined = pieces(list, cuts)
        .map((part) => stream.push(part))
        .join("");
      const bytes = Buffer.concat(list.filter((id) => specials || !tokenizer.isSpecial(id)).map(tokenizer.bytesOf));
      assert.is(joined + stream.flush(), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
    }),
    { numRuns: 500 },
  );
});

test("an unfinished character waits, and is a replacement character only at the end", () => {
  const ids = tokenizer.encode("😀");
  const stream = new Detokenizer(tokenizer);
  assert.is(stream.push(ids.slice(0, -1)), "");
  assert.is(stream.push(ids.slice(-1)), "😀");
  assert.is(stream.push(ids.slice(0, -1)), "");
  assert.is(stream.flush(), "\ufffd");
  assert.is(stream.push(ids), "😀");
});

test("special tokens show only when asked for", () => {
  const ids = [0, ...tokenizer.encode("好"), 1];
  assert.is(new Detokenizer(tokenizer).push(ids), "好");
  assert.is(new Detokenizer(tokenizer, { specials: true }).push(ids), "<|bos|>好<|end|>");
});

test.run();
