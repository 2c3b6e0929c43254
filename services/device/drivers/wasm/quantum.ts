// Runs one quantum on thread 0: steps of the forward pass with sampling between them, until time, steps or sequences end.

import type { Grammars } from "../../grammar/grammars.ts";
import { best, sample } from "../../sampler.ts";
import type { Quantum, QuantumReport, Token } from "../driver.ts";
import { type Chunk, compose } from "./compose.ts";
import { control, type Layout, maxLogitRows, maxRows, padded } from "./layout.ts";
import type { Programs } from "./program.ts";
import { Sequence } from "./sequence.ts";
import type { Shape } from "./shape.ts";

export interface Machine {
  shape: Shape;
  layout: Layout;
  programs: Programs;
  memory: WebAssembly.Memory;
  grammars?: Grammars | undefined;
  /** Runs a program on all threads and returns when it is done. */
  lead(program: number): void;
}

/** What word 0 of a quantum's flags asks for: to end at the next step, or to give up the step that runs as well. */
export const flag = { cancel: 1, abandon: 2 } as const;

/** A row that wants logits: for sampling, for the probability of a given id, or both. */
interface Wanted {
  row: number;
  sequence: Sequence;
  /** Ids that the step feeds to it. */
  count: number;
  scored: number | undefined;
  samples: boolean;
}

interface Step {
  tokens: Token[];
  /** Rows that are in KV now. */
  computed: number;
}

/**
 * Runs `quantum` (valid: engine.ts checks it). `flags` word 0 ends it (see `flag`), word 1 + i its sequence i between two
 * steps. A step that is given up leaves nothing behind: its ids are fed again, and give the same. `onTokens` is called once
 * a step that sampled something.
 */
export function runQuantum(
  machine: Machine,
  quantum: Quantum,
  flags: Int32Array,
  onTokens: (tokens: Token[]) => void,
): QuantumReport {
  const start = performance.now();
  const sequences = writeTables(machine, quantum);
  let steps = 0;
  let computedTokens = 0;
  let cancelled = false;
  let lostMs = 0;
  while (steps < quantum.maxSteps && (steps === 0 || performance.now() - start < quantum.maxMs)) {
    if ((cancelled = Atomics.load(flags, 0) !== 0)) break;
    sequences.forEach((sequence, i) => {
      sequence.gone ||= Atomics.load(flags, 1 + i) !== 0;
    });
    const chunks = compose(sequences, Math.min(quantum.tokenBudget, maxRows), steps);
    if (chunks.length === 0) break;
    const from = performance.now();
    const { tokens, computed } = step(machine, sequences, chunks, () => (Atomics.load(flags, 0) & flag.abandon) !== 0);
    if (tokens.length) onTokens(tokens);
    computedTokens += computed;
    if (computed > 0) steps++;
    if (computed < chunks.reduce((sum, { count }) => sum + count, 0)) lostMs = performance.now() - from;
  }
  const seqs = sequences.map((sequence) => sequence.report());
  return { id: quantum.id, seqs, computedTokens, steps, ms: performance.now() - start, lostMs, cancelled };
}

function writeTables({ layout, memory, shape, grammars }: Machine, quantum: Quantum): Sequence[] {
  const words = new Uint32Array(memory.buffer);
  let table = layout.blockTables;
  return quantum.seqs.map((spec) => {
    words.set(spec.blocks, table / 4);
    const sequence = new Sequence(spec, table, layout.context, shape.width, grammars);
    table += 4 * spec.blocks.length;
    return sequence;
  });
}

function step(machine: Machine, sequences: Sequence[], chunks: Chunk[], abandoned: () => boolean): Step {
  const { layout, memory, programs } = machine;
  const words = new Uint32Array(memory.buffer);
  const wanted: Wanted[] = [];
  const pooled: { row: number; sequence: Sequence }[] = [];
  let row = 0;
  for (const { of, count } of chunks) {
    const sequence = sequences[of]!;
    for (let i = 0; i < count; i++, row++) {
      words[layout.ids / 4 + row] = sequence.next(i);
      words[layout.positions / 4 + row] = sequence.pos + i;
      words[layout.tables / 4 + row] = sequence.table;
      const scored = sequence.scored(i);
      const samples = i === count - 1 && sequence.samplesAfter(count);
      if (samples || scored !== undefined) wanted.push({ row, sequence, count, scored, samples });
      if (sequence.pools(i, count)) pooled.push({ row, sequence });
    }
  }
  words[control.rows] = row;
  if (!leadAll(machine, programs.body, abandoned)) return { tokens: [], computed: 0 };
  // Who samples goes on when it has its token.
  const sampling = new Set(wanted.flatMap(({ samples, sequence }) => (samples ? [sequence] : [])));
  const given = chunks.filter(({ of }) => !sampling.has(sequences[of]!));
  for (const { of, count } of given) sequences[of]!.advance(count);
  let computed = given.reduce((sum, { count }) => sum + count, 0);
  if (pooled.length) pool(machine, pooled);
  // Scores of a row that is in KV are not asked for again.
  const whole = wanted.some(({ scored }) => scored !== undefined);
  const tokens: Token[] = [];
  for (let i = 0; i < wanted.length; i += maxLogitRows) {
    const rows = wanted.slice(i, i + maxLogitRows);
    const judged = judge(machine, rows, whole ? () => false : abandoned);
    if (judged === undefined) break;
    tokens.push(...judged);
    for (const { samples, count } of rows) if (samples) computed += count;
  }
  return { tokens, computed };
}

/** Runs the parts of a program, and says whether it ran to its end. */
function leadAll({ lead }: Machine, parts: readonly number[], abandoned: () => boolean): boolean {
  for (const part of parts) {
    if (abandoned()) return false;
    lead(part);
  }
  return true;
}

function select({ layout, memory }: Machine, rows: readonly { row: number }[]): void {
  const words = new Uint32Array(memory.buffer);
  words[control.selected] = rows.length;
  words.set(
    rows.map(({ row }) => row),
    layout.selection / 4,
  );
}

// Adds the final hidden states to their sequences' sums.
function pool(machine: Machine, rows: { row: number; sequence: Sequence }[]): void {
  const { layout, shape, memory, programs } = machine;
  select(machine, rows);
  machine.lead(programs.hidden);
  const line = padded(shape.width);
  const normed = new Float32Array(memory.buffer, layout.normed, rows.length * line);
  rows.forEach(({ sequence }, i) => {
    sequence.pool(normed, i * line);
  });
}

// Computes the logits of at most maxLogitRows rows, and from them probabilities and tokens; nothing when it was given up.
function judge(machine: Machine, rows: Wanted[], abandoned: () => boolean): Token[] | undefined {
  const { layout, shape, memory, programs } = machine;
  select(machine, rows);
  if (!leadAll(machine, programs.head, abandoned)) return undefined;
  if (rows.some(({ scored, sequence }) => scored !== undefined || sequence.spec.sample?.logprobs !== undefined))
    machine.lead(programs.logSums);
  const logSums = new Float32Array(memory.buffer, layout.logSums, rows.length);
  return rows.flatMap(({ sequence, count, scored, samples }, i) => {
    const logits = new Float32Array(memory.buffer, layout.logits + 4 * i * padded(shape.vocab), shape.vocab);
    if (scored !== undefined) sequence.logprobs.push(logits[scored]! - logSums[i]!);
    if (!samples) return [];
    sequence.advance(count);
    return [next(sequence, logits, logSums[i]!)];
  });
}

/** Samples the sequence's next token from its `logits`, which change; `logSum` is their log-sum-exp, if logprobs are asked for. */
export function next(sequence: Sequence, logits: Float32Array, logSum: number): Token {
  const { seq, sample: settings } = sequence.spec;
  const pos = sequence.pos;
  const top = settings!.logprobs === undefined ? undefined : best(logits, undefined, settings!.logprobs);
  // Sampling changes the logits of the ids that it penalises, a constraint those that it excludes.
  const before = top && Float32Array.from(logits);
  sequence.guide?.restrict(logits);
  const id = sample(logits, { ...settings!, allowed: sequence.allowed }, sequence.history, pos);
  sequence.take(id);
  if (!before) return { seq, pos, id };
  return {
    seq,
    pos,
    id,
    logprob: before[id]! - logSum,
    top: top!.map((t) => ({ id: t, logprob: before[t]! - logSum })),
  };
}
