// Owns the tests of chrF and BLEU against figures that sacrebleu gave (reference.py says how).
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BleuTokens, bleu, bleuWords } from "../../../../../services/model/text/metrics/bleu.ts";
import { chrF } from "../../../../../services/model/text/metrics/chrf.ts";
import { corpusScore } from "../../../../../services/model/text/metrics/metric.ts";

interface Corpus {
  name: string;
  tokens: BleuTokens;
  hypotheses: string[];
  references: string[];
  bleu: number;
  chrf: number;
  sentences: number[];
  tokenised: string[][];
}

const file = readFileSync(new URL("reference.json", import.meta.url), "utf8");
const { corpora } = JSON.parse(file) as { corpora: Corpus[] };
const near = (ours: number, theirs: number, what: string) =>
  assert.ok(Math.abs(ours - theirs) < 1e-9 * Math.max(1, theirs), `${what}: ${ours}, sacrebleu ${theirs}`);

for (const { name, tokens, hypotheses, references, tokenised, sentences, ...scores } of corpora) {
  test(`${name}: the same words, BLEU and chrF as sacrebleu`, () => {
    references.forEach((reference, i) => {
      assert.equal(bleuWords(tokens, reference), tokenised[i], reference);
    });
    near(corpusScore(bleu(tokens), hypotheses, references), scores.bleu, "BLEU");
    near(corpusScore(chrF, hypotheses, references), scores.chrf, "chrF");
    sentences.forEach((score, i) => {
      near(corpusScore(chrF, [hypotheses[i]!], [references[i]!]), score, `chrF of ${hypotheses[i]}`);
    });
  });
}

test.run();
