// Owns what counts as a word when texts are compared: a run of letters or digits, or one sign where words are not parted.
const SIGN = "[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}]";
const WORD = new RegExp(`${SIGN}|(?:(?!${SIGN})[\\p{L}\\p{M}\\p{N}])+`, "gu");

/** Words of a text as a reader would see them alike: case and width do not count. */
export function words(text: string): string[] {
  return text.normalize("NFKC").toLowerCase().match(WORD) ?? [];
}

/** Hashes of each run of `length` words; of all of them where there are fewer. 32 bits each (FNV-1a). */
export function shingles(list: readonly string[], length: number): Uint32Array {
  const hashes = new Uint32Array(Math.max(list.length === 0 ? 0 : 1, list.length - length + 1));
  for (let at = 0; at < hashes.length; at++) {
    let hash = 0x811c9dc5;
    for (const word of list.slice(at, at + length)) {
      for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
      // The end of a word: "a bc" is not "ab c".
      hash = Math.imul(hash ^ 0xff, 0x01000193);
    }
    hashes[at] = hash;
  }
  return hashes;
}
