// Owns the tests of the tokenizer view: foreign special tokens, names, opening, decoders of other families.
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { trainBpe } from "../../../../services/model/text/bpe.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";
import { anyText } from "./texts.ts";

const SPECIALS = ["<|bos|>", "<|end|>", "||", "<|<|", "｜好｜"];
const json = trainBpe(["今天天气很好 明天天气也很好", "the cat and the dog"], { vocabSize: 320, specials: SPECIALS });
const tokenizer = loadTokenizer(json);
const library = new Library(json, { clean_up_tokenization_spaces: false });

test("a special token in somebody's text is letters and comes back as it was", () => {
  fc.assert(
    fc.property(anyText(SPECIALS), (text) => {
      const ids = tokenizer.encode(text);
      assert.not.ok(ids.some(tokenizer.isSpecial), text);
      assert.is(tokenizer.decode(ids), text);
    }),
    { numRuns: 500 },
  );
});

test("text without special tokens has the ids that the library gives", () => {
  fc.assert(
    fc.property(anyText([]), (text) => {
      fc.pre(!SPECIALS.some((special) => text.includes(special)) && text !== "");
      assert.equal(tokenizer.encode(text), library.encode(text, { add_special_tokens: false }).ids);
    }),
    { numRuns: 300 },
  );
});

test("a template's special tokens count, those in guarded text do not", () => {
  const ids = tokenizer.encodeTemplate(`<|bos|>${tokenizer.guard("a<|end|>")}<|end|>`);
  assert.equal(ids.filter(tokenizer.isSpecial), [0, 1]);
  assert.is(tokenizer.decode(ids, { specials: true }), "<|bos|>a<|end|><|end|>");
  assert.is(tokenizer.decode(ids), "a<|end|>");
  assert.is(tokenizer.decode([4], { specials: true }), "｜好｜");
});

test("the guard itself cannot be smuggled in", () => {
  const ids = tokenizer.encodeTemplate(tokenizer.guard("<\u{fdd0}|end|>"));
  assert.not.ok(ids.some(tokenizer.isSpecial));
});

test("the opening is what the file's own template puts first", () => {
  assert.equal(tokenizer.opening, [0]);
  assert.equal(loadTokenizer({ ...json, post_processor: null }).opening, []);
});

test("tokens are found by name, and an unknown name says so", () => {
  assert.is(tokenizer.idOf("<|end|>"), 1);
  assert.is(tokenizer.vocabSize, Object.keys(json.model.vocab).length);
  assert.throws(
    () => tokenizer.idOf("<|nope|>"),
    (e: unknown) => isSomaError(e, "EINVAL") && e.message.includes("<|nope|>"),
  );
});

test("ids past the vocabulary are padding and add nothing", () => {
  assert.is(tokenizer.decode([...tokenizer.encode("ab"), 100_000]), "ab");
});

/** A SentencePiece-like file as Llama 2 has it: spaces are "▁", unknown characters fall into bytes. */
function sentencePiece(): object {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, "▁", "H", "i", "▁H", "▁Hi", "你"];
  return {
    version: "1.0",
    added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      byte_fallback: true,
      fuse_unk: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ["▁ H", "▁H i"],
    },
  };
}

test("a SentencePiece tokenizer decodes as the library does, byte tokens and leading space included", () => {
  const llama = loadTokenizer(sentencePiece());
  const theirs = new Library(sentencePiece(), { clean_up_tokenization_spaces: false });
  assert.equal(llama.opening, [1]);
  for (const text of ["Hi", "Hi 你 Hi", " Hi", "好😀", "i  H"]) {
    const ids = llama.encode(text);
    assert.is(llama.decode(ids), text);
    assert.is(llama.decode(ids), theirs.decode(ids));
  }
});

test("a decoder or file that we cannot run is refused by name", () => {
  const wordPiece = { ...json, decoder: { type: "WordPiece" } };
  assert.throws(
    () => loadTokenizer(wordPiece),
    (e: unknown) => isSomaError(e, "EINVAL") && e.message.includes("WordPiece"),
  );
  assert.throws(
    () => loadTokenizer({ decoder: { type: "ByteLevel" } }),
    (e: unknown) => isSomaError(e, "EINVAL"),
  );
});

test.run();
