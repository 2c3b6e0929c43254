import { test } from "uvu";
import * as assert from "uvu/assert";
import { clean, languageOf, tidy } from "../../../../services/model/data/clean.ts";

const rules = { minChars: 3, maxChars: 200, languages: [] as string[] };
const of = (target: string, source = "") => ({ task: "complete", source, target, origin: "user" });

test("what nobody sees is taken out, what means something stays", () => {
  assert.is(tidy("\ufeffa\u200bb\u202e c\u0007\r\nd  \n\n\n\ne\t f "), "ab c\nd\n\ne\t f");
  assert.is(tidy("e\u0301"), "\u00e9");
  assert.is(tidy("👩\u200d👧 我们"), "👩\u200d👧 我们");
});

test("what cannot be mended is refused with its reason", () => {
  assert.is(clean(of("ab"), rules), "short");
  assert.is(clean(of("\u200b \u0007"), rules), "short");
  assert.is(clean(of("x".repeat(201)), rules), "long");
  assert.is(clean(of("bytes \ufffd\ufffd that were no text"), rules), "garbled");
  assert.is(clean(of("half a pair: \ud83d and \ude00"), rules), "garbled");
  assert.equal(clean(of(" fine ", " asked "), rules), of("fine", "asked"));
});

test("languages are told where there is enough text to tell", () => {
  const english = "The committee will meet again on Thursday to look at the proposals that were made.";
  const german = "Der Ausschuss tritt am Donnerstag wieder zusammen, um die Vorschläge zu prüfen.";
  const chinese =
    "委员会将于星期四再次开会，审议已经提出的各项建议，并就下一步的工作计划作出决定，欢迎大家参加并发表意见。";
  assert.equal([english, german, chinese].map(languageOf), ["eng", "deu", "cmn"]);
  const only = { ...rules, languages: ["eng"] };
  assert.is(clean(of(german), only), "language");
  assert.equal(clean(of(english), only), of(english));
  assert.equal(clean(of("Ja."), only), of("Ja."), "too short to tell");
});

test.run();
