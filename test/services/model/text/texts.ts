// Owns the random texts of these tests: several scripts, emoji, combining marks, odd white space, special tokens.
import fc from "fast-check";

const PARTS = [
  ...["今天", "天气", "的", "你好，世界", "编辑器", "𠮷野家", "㐀", "はい", "한국어", "…—“”（）"],
  ...["Hello", " World", "don't", "it's", "'ll", "naïve", "ÄÖÜß", "Здравствуй", "مرحبا", "हिन्दी", "x"],
  ...["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇳", "e\u0301", "a\u0308\u0323", "ﬁ", "\u200d", "\ufeff", "\ufffd"],
  ...[" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "\u2028", "0", "42", "3.14", "½", "①", "Ⅷ"],
  ...["<|", "|>", "<", "{0}", "_", "--", "!?", "\\", '"', "&&", "`#editor.tabSize#`"],
];

/** Texts with and without the given special tokens in them; never a lone surrogate, which is no Unicode text. */
export function anyText(specials: readonly string[]): fc.Arbitrary<string> {
  const part = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...PARTS) },
    {
      weight: 2,
      arbitrary: fc.string({ unit: fc.integer({ min: 0x4e00, max: 0x9fa5 }).map((c) => String.fromCodePoint(c)) }),
    },
    { weight: 2, arbitrary: fc.string({ unit: "grapheme-ascii" }) },
    { weight: 1, arbitrary: fc.constantFrom(...specials, ...PARTS) },
  );
  return fc.array(part, { maxLength: 12 }).map((parts) => parts.join(""));
}
