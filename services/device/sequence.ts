// Owns one sequence on this device between quanta: its ids, how far they are in KV, what it gathered. Pure.
import type { z } from "zod";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { quantumSequence } from "../../kernel/abi/syscalls/device.ts";
import type { LoadedModel, QuantumSequence, SequenceReport } from "./drivers/driver.ts";
import type { Constraint } from "./grammar/grammars.ts";
import type { Kv, Table } from "./kv.ts";

export type Start = NonNullable<z.output<typeof quantumSequence>["start"]>;
export type Finish = "stop" | "length" | "blocks" | "error" | "unknown";

export interface Sequence {
  id: string;
  start: Start;
  /** Prompt and generated. For `generate` the last one is never in KV between quanta: its logits are still to come. */
  ids: number[];
  /** Tokens in KV. */
  pos: number;
  /** Length of the prompt: where new tokens begin. */
  prompt: number;
  table: Table;
  /** Told to go while its quantum ran: it goes when that has ended, for good, until its turn, or to go on elsewhere. */
  leaving: "drop" | "park" | "move" | undefined;
  scores: number[];
  /** Sum of the final hidden states that its pooling counts, so far. */
  hidden: number[];
}

export function openSequence(id: string, start: Start, table: Table): Sequence {
  const prompt = start.ids.length - start.generated;
  return { id, start, ids: [...start.ids], pos: 0, prompt, table, leaving: undefined, scores: [], hidden: [] };
}

export function generated(sequence: Sequence): number {
  return sequence.ids.length - sequence.prompt;
}

function remaining(sequence: Sequence): number {
  return Math.max(0, sequence.start.maxNew - generated(sequence));
}

/** Tokens that it still has to compute, at most. */
export function left(sequence: Sequence): number {
  return Math.max(0, sequence.ids.length - sequence.pos) + remaining(sequence);
}

/** How many of its ids need not be computed if others have: not the last, whose logits are wanted, nor any that is asked about itself. */
function shareable({ start, ids }: Sequence): number {
  if (start.mode === "embed" && poolingOf(start) === "mean") return 0;
  return start.mode === "score" ? Math.max(0, Math.min(start.from, ids.length) - 1) : ids.length - 1;
}

/** Takes over what others computed of its prefix; returns the tokens saved. Only while it has computed nothing itself. */
export function share(kv: Kv, sequence: Sequence): number {
  const { table, pos } = sequence;
  if (pos !== table.node.depth * BLOCK_TOKENS || table.blocks.length > table.node.depth) return 0;
  sequence.pos = kv.share(table, sequence.ids, shareable(sequence));
  return sequence.pos - pos;
}

/** Names the block that it would compute next and others could share, or undefined. */
export function claim(kv: Kv, sequence: Sequence): string | undefined {
  return kv.missing(sequence.table, sequence.ids, shareable(sequence));
}

/** What is the matter with it, or undefined when it can run. */
export function fault(
  sequence: Sequence,
  limits: Pick<LoadedModel, "vocab" | "context" | "grammars">,
): string | undefined {
  const { start } = sequence;
  const { ids, generated, allowed, sample, logprobs, constraint } = start;
  if (ids.length === 0 || generated > ids.length) return "a sequence needs at least one id";
  if (ids.length > limits.context) return `${ids.length} ids are over the context of ${limits.context}: shorten them`;
  const beyond = [...ids, ...(allowed ?? [])].find((id) => id >= limits.vocab);
  if (beyond !== undefined) return `id ${beyond} is beyond the vocabulary of ${limits.vocab}`;
  if (allowed?.length === 0) return "`allowed` names no id";
  if (sample.topP === 0) return "topP must be above 0: leave it out to take all";
  if (logprobs !== undefined && logprobs > limits.vocab) return `logprobs must be at most ${limits.vocab}`;
  return constraint === undefined ? undefined : constraintFault(sequence, limits);
}

/** What is the matter with a constraint: with the schema itself, or with its fit into the tokens that are left. */
function constraintFault(
  sequence: Sequence,
  { context, grammars }: Pick<LoadedModel, "context" | "grammars">,
): string | undefined {
  const { start, ids, prompt } = sequence;
  if (start.mode !== "generate") return "a constraint is for new ids: use mode generate";
  if (start.constraint!.made > prompt) return "`made` counts more ids than there are";
  if (grammars === undefined) return "this model's driver has no grammar: load the model on driver wasm";
  try {
    grammars.guide(constraintOf(sequence)!, Math.min(remaining(sequence), context - ids.length), start.stopIds);
    return undefined;
  } catch (error) {
    if (isSomaError(error, "EINVAL")) return error.message;
    throw error;
  }
}

function constraintOf({ start, ids, prompt }: Sequence): Constraint | undefined {
  if (start.constraint === undefined) return undefined;
  const { schema, made } = start.constraint;
  return { schema: JSON.stringify(schema), made: ids.slice(prompt - made) };
}

/** True if a driver has nothing to do for it: everything is computed, or nothing was asked for. */
export function isOver(sequence: Sequence): boolean {
  return sequence.start.mode === "generate"
    ? remaining(sequence) === 0 && generated(sequence) > 0
    : sequence.pos >= sequence.ids.length;
}

/** Tokens that must fit its table for a quantum of so many steps. */
export function reach(sequence: Sequence, steps: number, context: number): number {
  return Math.min(sequence.ids.length + Math.min(steps, remaining(sequence)), context);
}

/** A score's first id in a quantum needs the logits of the id before, which were not kept: that one is computed again. */
function again({ start, pos, table }: Sequence): number {
  return start.mode === "score" && pos > table.node.depth * BLOCK_TOKENS ? 1 : 0;
}

/** What the driver gets. */
export function feed(sequence: Sequence): QuantumSequence {
  const { id, start, ids, table } = sequence;
  const from = sequence.pos - again(sequence);
  const left = remaining(sequence);
  const { allowed, logprobs } = start;
  const constraint = constraintOf(sequence);
  const sample = {
    ...start.sample,
    ...(start.sample.repetitionPenalty === 1 ? {} : { history: ids }),
    ...(allowed === undefined ? {} : { allowed }),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(constraint === undefined ? {} : { constraint }),
  };
  return {
    seq: id,
    blocks: table.blocks,
    pos: from,
    ids: ids.slice(from),
    sample: start.mode === "generate" && left > 0 ? sample : null,
    maxNew: left,
    stopIds: start.stopIds,
    ...(start.mode === "score" ? { logprobsOf: true } : {}),
    ...(start.mode === "embed" ? { embed: poolingOf(start) } : {}),
  };
}

/** Takes a driver's report over. Returns how it finished, or null when it goes on. */
export function absorb(kv: Kv, sequence: Sequence, report: SequenceReport): Finish | null {
  const { start, ids, table } = sequence;
  const from = sequence.pos - again(sequence);
  report.logprobs?.forEach((logprob, i) => {
    if (from + i >= start.from) sequence.scores[from + i] = logprob ?? 0;
  });
  if (report.embedding) {
    const { mean, tokens } = report.embedding;
    sequence.hidden = mean.map((value, d) => (sequence.hidden[d] ?? 0) + value * tokens);
  }
  ids.push(...report.newIds);
  sequence.pos = report.pos;
  // A score writes its last position again: the block of that one is not shared yet.
  kv.commit(table, ids, start.mode === "score" ? report.pos - 1 : report.pos);
  if (report.finish === "stop" || report.finish === "length") return report.finish;
  if (start.mode !== "generate" || start.maxNew === 0) return sequence.pos >= ids.length ? "stop" : null;
  return null;
}

export function scores({ ids, scores }: Sequence): number[] {
  return ids.map((_, i) => scores[i] ?? 0);
}

export function vector({ hidden, ids, start }: Sequence): number[] {
  return poolingOf(start) === "last" ? hidden : hidden.map((sum) => sum / ids.length);
}

function poolingOf({ pooling = "mean" }: Start): "mean" | "last" {
  return pooling;
}
