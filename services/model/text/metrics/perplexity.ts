// Owns perplexity: how many tokens the model hesitates between, on average.

/** Counts of one segment, to be summed; `logProbs` are natural logarithms of the probabilities of its target tokens. */
export function logProbCounts(logProbs: readonly number[]): [total: number, tokens: number] {
  return [logProbs.reduce((total, value) => total + value, 0), logProbs.length];
}

/** exp of the mean negative log-probability per token; NaN without tokens. */
export function perplexity([total = 0, tokens = 0]: readonly number[]): number {
  return Math.exp(-total / tokens);
}
