// Refuses what would make a kernel read or write outside its buffers, or two sequences write one block. EINVAL says what.
import { SomaError } from "../../../../kernel/abi/errors.ts";
import { blockTokens, type Quantum, type QuantumSequence } from "../driver.ts";
import { blockTableWords, maxSequences } from "./layout.ts";

export interface Limits {
  vocab: number;
  blocks: number;
  context: number;
}

const refuse = (what: string): never => {
  throw new SomaError("EINVAL", what);
};

/** Throws EINVAL unless `quantum` can run on a model with these limits. */
export function checkQuantum(quantum: Quantum, limits: Limits): void {
  const { id, seqs } = quantum;
  for (const field of ["maxSteps", "tokenBudget"] as const)
    if (!Number.isInteger(quantum[field]) || quantum[field] < 1)
      refuse(`quantum ${id}: ${field} must be a positive integer, not ${quantum[field]}`);
  if (!(quantum.maxMs >= 0)) refuse(`quantum ${id}: maxMs must be 0 or more, not ${quantum.maxMs}`);
  if (seqs.length === 0 || seqs.length > maxSequences)
    refuse(`quantum ${id}: ${seqs.length} sequences; give 1 to ${maxSequences}`);
  if (new Set(seqs.map(({ seq }) => seq)).size < seqs.length) refuse(`quantum ${id}: a sequence stands in it twice`);
  for (const sequence of seqs) checkSequence(sequence, limits);
  const words = seqs.reduce((sum, { blocks }) => sum + blocks.length, 0);
  if (words > blockTableWords(limits.context)) refuse(`quantum ${id}: its block tables are too long; split it`);
  checkWrites(seqs);
}

function checkSequence(sequence: QuantumSequence, { vocab, blocks, context }: Limits): void {
  const { seq, sample, pos } = sequence;
  const wrong = (what: string): never => refuse(`sequence ${seq}: ${what}`);
  const whole = (what: string, values: readonly number[], end: number) => {
    for (const value of values)
      if (!Number.isInteger(value) || value < 0 || value >= end) wrong(`${what} ${value} is not in 0..${end - 1}`);
  };
  whole("block", sequence.blocks, blocks);
  if (sequence.blocks.length > Math.ceil(context / blockTokens))
    wrong(`more blocks than its context of ${context} fills`);
  whole("pos", [pos], Math.min(sequence.blocks.length * blockTokens, context) + 1);
  whole("id", sequence.ids, vocab);
  if (sequence.ids.length === 0) wrong("no ids to feed; give at least the last one again");
  whole("maxNew", [sequence.maxNew], 2 ** 31);
  if (!sample) return;
  whole("history id", sample.history ?? [], vocab);
  whole("allowed id", sample.allowed ?? [], vocab);
  if (sample.allowed?.length === 0) wrong("allowed names no id");
  whole("constrained id", sample.constraint?.made ?? [], vocab);
  whole("topK", [sample.topK], 2 ** 31);
  whole("logprobs", [sample.logprobs ?? 0], vocab + 1);
  if (!(sample.temperature >= 0)) wrong(`temperature ${sample.temperature} must be 0 or more`);
  if (!(sample.topP > 0 && sample.topP <= 1)) wrong(`topP ${sample.topP} must be above 0 and at most 1`);
  if (!(sample.minP >= 0 && sample.minP <= 1)) wrong(`minP ${sample.minP} must be between 0 and 1`);
  if (!(sample.repetitionPenalty > 0)) wrong(`repetitionPenalty ${sample.repetitionPenalty} must be above 0`);
  if (!Number.isInteger(sample.seed)) wrong(`seed ${sample.seed} must be an integer`);
}

// A block that one sequence may write must stand in no other table, and in its own only once.
function checkWrites(seqs: readonly QuantumSequence[]): void {
  const uses = new Map<number, number>();
  for (const { blocks } of seqs) for (const block of blocks) uses.set(block, (uses.get(block) ?? 0) + 1);
  for (const { seq, blocks, pos } of seqs)
    for (const block of blocks.slice(Math.floor(pos / blockTokens)))
      if (uses.get(block)! > 1)
        refuse(`sequence ${seq} would write block ${block}, which is in use twice; copy it first`);
}
