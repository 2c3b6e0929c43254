// Owns what one request went through, and the statistics of many. Times in ms.

export interface Timing {
  /** From its arrival to the quantum that named it first. */
  wait: number;
  /** From its arrival to its first token, and to its last. */
  first: number;
  total: number;
  newTokens: number;
}

export const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
export const mean = (list: readonly number[]): number => sum(list) / list.length;

/** The least value that `share` of the list does not exceed. */
export function percentile(list: readonly number[], share: number): number {
  return [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(share * list.length) - 1)]!;
}

/** 1 where all are equal, 1/n where one has everything. */
export const jain = (list: readonly number[]): number => sum(list) ** 2 / (list.length * sum(list.map((x) => x * x)));

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
