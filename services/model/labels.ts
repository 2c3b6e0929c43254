// Owns how likely each of some continuations is: completions of a prompt, labels of texts. The common prefix is computed once,
// since sequences that run together share it on the device.
import type { Output } from "../../kernel/abi/syscalls.ts";
import type { SchedulerEngine } from "./engine.ts";
import { inParallel } from "./parallel.ts";
import type { ClassifyInput, Scored } from "./plan.ts";

type Score = Output<"model.score">["scores"][number];
type Result = Output<"model.classify">["results"][number];

/** Sum of log-probabilities of each plan's completion, in order. */
async function logprobs(plans: readonly Scored[], engine: Pick<SchedulerEngine, "score">): Promise<number[]> {
  const found = await inParallel(plans, ({ ids, scored }) => engine.score(ids, scored));
  return found.map((values) => values.reduce((sum, value) => sum + value, 0));
}

/** `plans` are the completions' in order. */
export async function scoreAll(
  completions: readonly string[],
  plans: readonly Scored[],
  engine: Pick<SchedulerEngine, "score">,
): Promise<Score[]> {
  const sums = await logprobs(plans, engine);
  const parts = shares(sums);
  return completions.map((completion, i) => ({
    completion,
    logprob: sums[i]!,
    share: parts[i]!,
    tokens: plans[i]!.scored,
  }));
}

/** `plans` are those of planClassify. */
export async function classifyAll(
  { texts, labels, calibrate }: ClassifyInput,
  plans: readonly Scored[],
  engine: Pick<SchedulerEngine, "score">,
): Promise<Result[]> {
  const sums = await logprobs(plans, engine);
  const prior = calibrate ? sums.slice(texts.length * labels.length) : [];
  return texts.map((_, at) => {
    const own = sums.slice(at * labels.length, (at + 1) * labels.length);
    const parts = shares(own.map((sum, i) => sum - (prior[i] ?? 0)));
    const rows = labels.map((label, i) => ({
      label,
      logprob: own[i]!,
      share: parts[i]!,
      tokens: plans[at * labels.length + i]!.scored,
    }));
    // Equal ones stay in the order in which they were given.
    rows.sort((a, b) => b.share - a.share);
    return { label: rows[0]!.label, labels: rows };
  });
}

/** What each log-probability is of all together. */
export function shares(logprobs: readonly number[]): number[] {
  const most = Math.max(...logprobs);
  const weights = logprobs.map((value) => Math.exp(value - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
