// Owns what a word is for search: runs of letters and digits, lower-cased; of scripts without spaces each character and each pair.

const NO_SPACES = "\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}ー々";
const RUNS = new RegExp(`([${NO_SPACES}]+)|(?:(?![${NO_SPACES}])[\\p{L}\\p{N}\\p{M}])+`, "gu");

/**
 * The words of a text in order. For a question (`ask`) a run of two or more characters gives its pairs alone: single characters
 * say little there.
 */
export function words(text: string, ask = false): string[] {
  const found: string[] = [];
  for (const [run, unspaced] of text.normalize("NFKC").toLowerCase().matchAll(RUNS)) {
    if (unspaced === undefined) {
      found.push(run);
      continue;
    }
    const characters = [...run];
    if (!ask || characters.length === 1) found.push(...characters);
    for (let i = 1; i < characters.length; i++) found.push(characters[i - 1]! + characters[i]!);
  }
  return found;
}
