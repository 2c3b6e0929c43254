// Owns what Python's str.split() takes for white space, so that scores equal sacrebleu's. JavaScript's \s is another set.

export const PYTHON_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;

/** str.split() */
export function words(text: string): string[] {
  return text.split(PYTHON_SPACE).filter((word) => word !== "");
}
