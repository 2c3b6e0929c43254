// Owns the promise of constrained texts: whatever the model would rather say, what comes out is whole, and valid.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { Grammars } from "../../../../services/device/grammar/grammars.ts";
import { sample } from "../../../../services/device/sampler.ts";
import { trainBpe } from "../../../../services/model/text/bpe.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";
import { BYTES, schemas, vocabularyOf, wrong } from "./schemas.ts";

const SCHEMAS = Number(process.env.SCHEMAS ?? 1000);
const TEXT =
  '{"name": "the quick brown fox", "age": 12, "tags": ["a", "b"], "ok": true, "x": null} 今天天气很好。 '.repeat(4);
const STOP = 1;
const tokenizer = loadTokenizer(trainBpe([TEXT], { vocabSize: 600, specials: ["<|bos|>", "<|end|>"] }));
const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
const vocabulary = vocabularyOf(ids.map((id) => (tokenizer.isSpecial(id) ? "" : tokenizer.bytesOf(id))));
const grammars = new Grammars(vocabulary);
const punctuation = ids.filter((id) => /^["\]},:]+ ?$/.test(Buffer.from(vocabulary.bytesOf(id)).toString()));

interface Taste {
  seed: number;
  /** How often it is drawn to punctuation, which ends strings and lists. */
  terse: number;
}

/** A model without sense, held to a schema. */
function write(schema: object, maxNew: number, { seed, terse }: Taste, stopIds: number[] = [STOP]) {
  const json = JSON.stringify(schema);
  const guide = grammars.guide({ schema: json, made: [] }, maxNew, stopIds);
  const made: number[] = [];
  const settings = { temperature: 1, topK: 0, topP: 0.95, minP: 0, repetitionPenalty: 1.1, seed };
  let state = seed;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  while (made.length < maxNew && !guide.complete) {
    const logits = Float32Array.from(ids, () => 6 * uniform() - 3);
    if (uniform() < terse) for (const id of punctuation) logits[id]! += 8;
    guide.restrict(logits);
    const id = sample(logits, settings, new Set(made), made.length);
    if (stopIds.includes(id)) break;
    guide.take(id);
    made.push(id);
  }
  return { made, text: Buffer.concat(made.map((id) => vocabulary.bytesOf(id))).toString() };
}

test(`of ${SCHEMAS} random schemas each answer is whole and valid, or was refused before for its length`, () => {
  const seen = { answers: 0, refused: 0, cut: 0 };
  fc.assert(
    fc.property(
      schemas,
      fc.integer({ min: 1, max: 160 }),
      fc.nat(),
      fc.constantFrom(0, 0.3, 0.8),
      (schema, most, seed, terse) => {
        try {
          const { made, text } = write(schema, most, { seed, terse });
          assert.is(wrong(schema, text), undefined, `${text} of ${JSON.stringify(schema)}`);
          seen.answers += 1;
          if (made.length === most) seen.cut += 1;
        } catch (error) {
          if (!isSomaError(error, "EINVAL")) throw error;
          const [, needed = "", has = ""] = /needs (\d+) tokens at least and has (\d+)/.exec(error.message) ?? [];
          assert.ok(Number(needed) > Number(has), error.message);
          // With what it says that it needs, it fits.
          assert.is(wrong(schema, write(schema, Number(needed), { seed, terse }).text), undefined);
          seen.refused += 1;
        }
      },
    ),
    { numRuns: SCHEMAS, seed: 7 },
  );
  console.log(`  ${seen.answers} answers, ${seen.cut} of them up to their last token; ${seen.refused} refused`);
  assert.ok(seen.answers > 0.6 * SCHEMAS && seen.cut > 0.1 * SCHEMAS, "too few tell anything");
});

test("a text goes on elsewhere as if it had never stopped", () => {
  fc.assert(
    fc.property(schemas, fc.integer({ min: 20, max: 90 }), fc.nat(), (schema, most, seed) => {
      let made: number[];
      try {
        made = write(schema, most, { seed, terse: 0.2 }).made;
      } catch (error) {
        if (isSomaError(error, "EINVAL")) return;
        throw error;
      }
      const json = JSON.stringify(schema);
      const straight = grammars.guide({ schema: json, made: [] }, most, [STOP]);
      const elsewhere = new Grammars(vocabulary);
      for (const [at, id] of made.entries()) {
        const again = elsewhere.guide({ schema: json, made: made.slice(0, at) }, most - at, [STOP]);
        const [one, other] = [new Float32Array(ids.length), new Float32Array(ids.length)];
        straight.restrict(one);
        again.restrict(other);
        assert.equal(other, one);
        straight.take(id);
      }
    }),
    { numRuns: 25, seed: 3 },
  );
});

test("a vocabulary that lacks bytes still closes in time, or says that it cannot spell the schema", () => {
  const few = vocabularyOf(["", "", '{"', "a", "b", '":', '"', "}", "1", '"}', ","]);
  const some = new Grammars(few);
  const schema = JSON.stringify({
    type: "object",
    properties: { a: { type: "string", pattern: "^[ab]*$" } },
    required: ["a"],
  });
  for (let most = 5; most < 12; most++) {
    const guide = some.guide({ schema, made: [] }, most, []);
    let text = "";
    for (let i = 0; i < most && !guide.complete; i++) {
      const logits = Float32Array.from({ length: few.ids }, (_, id) => (id === 3 || id === 4 ? 5 : id));
      guide.restrict(logits);
      const id = logits.indexOf(Math.max(...logits));
      guide.take(id);
      text += Buffer.from(few.bytesOf(id)).toString();
    }
    assert.match(text, /^\{"a":"[ab]*"\}$/);
  }
  assert.throws(() => some.guide({ schema, made: [] }, 4, []), /needs 5 tokens at least and has 4/);
  assert.throws(() => some.guide({ schema: '{"const":"é"}', made: [] }, 99, []), /cannot spell/);
  assert.throws(() => some.guide({ schema, made: [8] }, 9, []), /no beginning/);
});

test("where a text fits in one way only, it keeps to that way", () => {
  const words = new Grammars(vocabularyOf([...BYTES, "ab"]));
  // After the x, "cd" comes first among equals, and takes an id more than is left.
  const schema = JSON.stringify({ anyOf: [{ const: "yyycd" }, { const: "xab" }, { const: "xcd" }] });
  const guide = words.guide({ schema, made: [] }, 4, []);
  const made: number[] = [];
  while (!guide.complete) {
    const logits = Float32Array.from({ length: 257 }, (_, id) => -id);
    guide.restrict(logits);
    made.push(logits.indexOf(Math.max(...logits)));
    guide.take(made.at(-1)!);
  }
  assert.equal(made, [0x22, 0x78, 256, 0x22]);
});

test("the trie spells a text in the fewest ids", () => {
  const words = vocabularyOf([...BYTES, "ab", "abc", "bcd", "cde"]);
  assert.equal(words.spell(Buffer.from("abcde")), [256, 259]);
  assert.equal(words.spell(Buffer.from("")), []);
  assert.is(vocabularyOf(["a"]).spell(Buffer.from("ab")), undefined);
});

test.run();
