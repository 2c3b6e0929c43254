import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { NearDuplicates } from "../../../../services/model/data/minhash.ts";
import { shingles, words } from "../../../../services/model/data/words.ts";

/** A text of so many different words. */
const text = (length: number, from = 0) => Array.from({ length }, (_, i) => `w${from + i}`).join(" ");
/** The same with every n-th word another one. */
const changed = (source: string, every: number) =>
  source
    .split(" ")
    .map((word, i) => (i % every === every - 1 ? `${word}x` : word))
    .join(" ");

function jaccard(a: string, b: string): number {
  const [left, right] = [a, b].map((one) => new Set(shingles(words(one), 3)));
  const both = [...left!].filter((hash) => right!.has(hash)).length;
  return both / (left!.size + right!.size - both);
}

test("a text with few changes is near, another one is not", () => {
  const texts = new NearDuplicates(0.8);
  assert.is(texts.near(text(200)), false);
  assert.is(texts.near(changed(text(200), 50)), true);
  assert.is(texts.near(changed(text(200), 3)), false);
  assert.is(texts.near(text(200, 1000)), false);
  assert.is(texts.near("  W0 w1, W2!"), false);
  assert.is(texts.near("w0 w1 w2"), true);
});

test("signs of a language without spaces are words of their own", () => {
  assert.equal(words("今天 weather好"), ["今", "天", "weather", "好"]);
  const texts = new NearDuplicates(0.7);
  assert.is(texts.near("今天天气很好，我们去公园散步，然后回家吃饭。"), false);
  assert.is(texts.near("今天天气很好，我们去公园散步，然后回家吃面。"), true);
  assert.is(texts.near("明天可能会下雨，你最好带一把伞，早点出门上班。"), false);
});

test("nearness follows the similarity that a count gives, also after the tables have grown", () => {
  const texts = new NearDuplicates(0.8);
  const sources = Array.from({ length: 2000 }, (_, i) => text(200, 1000 * i));
  for (const source of sources) assert.is(texts.near(source), false);
  let [found, wrong] = [0, 0];
  for (const [i, source] of sources.entries()) {
    const other = changed(source, 5 + (i % 200));
    const similarity = jaccard(source, other);
    if (Math.abs(similarity - 0.8) < 0.12) continue;
    const near = texts.near(other);
    // Estimated from 64 hashes: astray by more than twice its deviation is rare, but not never.
    if (near !== similarity > 0.8) wrong += 1;
    found += near ? 1 : 0;
  }
  assert.ok(found > 500, `${found} found`);
  assert.ok(wrong < 30, `${wrong} wrong`);
});

test("a text is always near itself, and its own order of words counts", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 30 }), (list) => {
      const texts = new NearDuplicates(0.8);
      const source = list.join(" ");
      const first = texts.near(source);
      // Nothing but punctuation has no words: all such texts look alike.
      assert.is(first, false);
      assert.is(texts.near(source), true);
    }),
    { numRuns: 200 },
  );
});

test.run();
