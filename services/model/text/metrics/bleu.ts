// Owns BLEU as sacrebleu defines it: up to 4-grams, exponential smoothing, its "13a" and "zh" tokenisation.
import type { Metric } from "./metric.ts";
import { PYTHON_SPACE, words } from "./whitespace.ts";

const ORDER = 4;

/** mteval-v13a for languages with spaces; `zh` also parts every Chinese character. */
export type BleuTokens = "13a" | "zh";

/** Score in 0..100. Counts: words of the hypothesis, of the reference, then for each order the correct, then all n-grams. */
export function bleu(tokens: BleuTokens): Metric {
  return {
    counts(hypothesis, reference) {
      const [ours, theirs] = [bleuWords(tokens, hypothesis), bleuWords(tokens, reference)];
      const orders = Array.from({ length: ORDER }, (_, i) => [ngrams(ours, i + 1), ngrams(theirs, i + 1)] as const);
      const correct = orders.map(([our, their]) => {
        let common = 0;
        for (const [gram, count] of our) common += Math.min(count, their.get(gram) ?? 0);
        return common;
      });
      const all = orders.map((_, i) => Math.max(0, ours.length - i));
      return [ours.length, theirs.length, ...correct, ...all];
    },
    score([ours = 0, theirs = 0, ...grams]) {
      const correct = grams.slice(0, ORDER);
      if (correct.every((count) => count === 0)) return 0;
      let logs = 0;
      let smooth = 1;
      for (let i = 0; i < ORDER; i++) {
        const all = grams[ORDER + i]!;
        if (all === 0) return 0;
        // Each order without a hit counts half of the one before: mteval's "exp" smoothing.
        if (correct[i] === 0) smooth *= 2;
        logs += Math.log(correct[i] === 0 ? 100 / (smooth * all) : (100 * correct[i]!) / all);
      }
      const brevity = ours < theirs ? Math.exp(1 - theirs / ours) : 1;
      return brevity * Math.exp(logs / ORDER);
    },
  };
}

/** The units whose n-grams BLEU counts. */
export function bleuWords(tokens: BleuTokens, line: string): string[] {
  return TOKENISE[tokens](line);
}

function ngrams(tokens: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + order <= tokens.length; i++) {
    const gram = tokens.slice(i, i + order).join(" ");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/**
 * The characters that sacrebleu's `zh` parts. The range 2001-2A6D stands where Unicode's extension B (20000-2A6D6) was
 * meant: "\u20000" in its source is U+2000 and a "0". Scores must agree with published ones, so it stays.
 */
const CHINESE =
  /[\u3400-\u4db5\u4e00-\u9fa5\u9fa6-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef\u2e80-\u2eff\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u2600-\u26ff\u2700-\u27bf\u3200-\u33ff]/gu;

const TOKENISE: Record<BleuTokens, (line: string) => string[]> = {
  "13a": (line) => {
    const flat = line
      .replace(new RegExp(`${PYTHON_SPACE.source}$`, "u"), "")
      .replaceAll("<skipped>", "")
      .replaceAll("-\n", "")
      .replaceAll("\n", " ");
    const plain = flat
      .replaceAll("&quot;", '"')
      .replaceAll("&amp;", "&")
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">");
    return punctuation(` ${plain} `);
  },
  zh: (line) => punctuation(words(line).length === 0 ? "" : trim(line).replace(CHINESE, " $& ")),
};

function trim(line: string): string {
  return line.replace(new RegExp(`^${PYTHON_SPACE.source}|${PYTHON_SPACE.source}$`, "gu"), "");
}

/** Symbols stand alone; a full stop or comma too, except inside a number; a dash after a digit. */
function punctuation(line: string): string[] {
  return words(
    line
      .replace(/([{-~[-` -&(-+:-@/])/gu, " $1 ")
      .replace(/([^0-9])([.,])/gu, "$1 $2 ")
      .replace(/([.,])([^0-9])/gu, " $1 $2")
      .replace(/([0-9])(-)/gu, "$1 $2 "),
  );
}
