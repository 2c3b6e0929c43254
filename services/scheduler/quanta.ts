// Owns the sizes of quanta: how many sequences, steps and ms make one, and how many are handed ahead. A table.

/** Sequences in one quantum, at most. */
export const BATCH = 64;
/** Where so many sequences run, newcomers' first tokens come of a quantum of their own: its step is far shorter. */
export const CROWD = 8;
/** Quanta at a device at a time: the one that runs, and the next, so that the bus costs nothing. */
export const AHEAD = 2;
/** Rows of one step: prefill chunks and decode steps together. */
export const TOKEN_BUDGET = 128;
/** With so few tokens to go it is not worth handing over another quantum before the report. */
export const BRIEF = 16;
/** Tokens that a sequence may compute before others can take its KV: taking turns more often would only cost. */
export const TENURE = 128;
/** Short where others wait, long where nobody does. */
export const LENGTH = { crowded: { maxSteps: 8, maxMs: 60 }, alone: { maxSteps: 32, maxMs: 250 } };
