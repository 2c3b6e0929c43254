// Owns how well a model does on examples: greedy answers against references, and the loss on the references themselves.
import { SomaError } from "../../kernel/abi/errors.ts";
import { inParallel } from "./parallel.ts";
import type { Evaluation } from "./record.ts";
import { chrF } from "./text/metrics/chrf.ts";
import { exactMatch } from "./text/metrics/exact.ts";
import { bootstrap, type Interval, segmentCounts, whole } from "./text/metrics/metric.ts";
import type { Example } from "./text/records.ts";
import { exampleIds, promptIds } from "./text/templates.ts";
import type { TextModel } from "./textmodel.ts";

/** What computes: the scheduler, or a double in tests. */
export interface Engine {
  /** Greedy ids after a prompt, a stop id included. */
  answer(ids: readonly number[], maxNew: number, stopIds: readonly number[]): Promise<readonly number[]>;
  /** Log-probabilities of the last `scored` ids. */
  score(ids: readonly number[], scored: number): Promise<readonly number[]>;
}

export interface Sample {
  task: string;
  source: string;
  reference: string;
  output: string;
  correct: boolean;
}

type Metric = "exactMatch" | "chrf" | "loss" | "perplexity" | "answerMs";

/** Figures with the middle 95 % of the values that as many cases drawn anew would give (bootstrap). */
export interface Measured {
  cases: number;
  /** `answerMs`: ms from asking to the last id, the mean, while several are asked at a time. */
  figures: Record<Metric, { value: number } & Interval>;
}

/** Figures over all examples, and each one's output. EINVAL without examples. */
export async function evaluate(
  text: TextModel,
  examples: readonly Example[],
  engine: Engine,
): Promise<Evaluation & { samples: Sample[] }> {
  const results = await answered(text, examples, engine);
  const segments = segmentsOf(results, examples);
  return {
    cases: examples.length,
    exactMatch: whole(exactMatch.score, segments.exactMatch),
    chrf: whole(chrF.score, segments.chrf),
    loss: whole(mean, segments.loss),
    samples: examples.map(({ task, source, target }, i) => ({
      task,
      source,
      reference: target,
      output: results[i]!.output,
      correct: results[i]!.output.trim() === target.trim(),
    })),
  };
}

/** The same with how sure each figure is. EINVAL without examples. */
export async function measure(text: TextModel, examples: readonly Example[], engine: Engine): Promise<Measured> {
  const segments = segmentsOf(await answered(text, examples, engine), examples);
  const figure = (score: (sums: readonly number[]) => number, counts: readonly number[][]) => ({
    value: whole(score, counts),
    ...bootstrap(score, counts, { seed: 1 }),
  });
  return {
    cases: examples.length,
    figures: {
      exactMatch: figure(exactMatch.score, segments.exactMatch),
      chrf: figure(chrF.score, segments.chrf),
      loss: figure(mean, segments.loss),
      perplexity: figure((sums) => Math.exp(mean(sums)), segments.loss),
      answerMs: figure(mean, segments.answerMs),
    },
  };
}

const mean = ([total = 0, count = 0]: readonly number[]) => total / count;

/** What adds up over cases, for each figure. */
function segmentsOf(results: readonly Answered[], examples: readonly Example[]) {
  const outputs = results.map(({ output }) => output);
  const references = examples.map(({ target }) => target);
  return {
    exactMatch: segmentCounts(exactMatch, outputs, references),
    chrf: segmentCounts(chrF, outputs, references),
    loss: results.map(({ logprobs }) => [-logprobs.reduce((sum, value) => sum + value, 0), logprobs.length]),
    answerMs: results.map(({ ms }) => [ms, 1]),
  };
}

type Answered = Awaited<ReturnType<typeof one>>;

async function answered(text: TextModel, examples: readonly Example[], engine: Engine): Promise<Answered[]> {
  if (examples.length === 0)
    throw new SomaError("EINVAL", "there are no examples to measure with: choose another split");
  return inParallel(examples, (example) => one(text, example, engine));
}

async function one(text: TextModel, example: Example, engine: Engine) {
  const { tokenizer, templates, stopIds, context } = text;
  const prompt = promptIds(tokenizer, templates, example.task, { source: example.source });
  const whole = exampleIds(tokenizer, templates, example);
  // An answer twice as long as the reference is wrong already: no need to see how it ends.
  const room = Math.min(context - prompt.length, 2 * (whole.ids.length - prompt.length) + 8);
  const from = performance.now();
  let ms = 0;
  const [answer, logprobs] = await Promise.all([
    engine.answer(prompt, room, stopIds).finally(() => {
      ms = performance.now() - from;
    }),
    engine.score(whole.ids, whole.ids.length - whole.promptLength),
  ]);
  const ends = new Set(stopIds);
  return { output: tokenizer.decode(answer.filter((id) => !ends.has(id))), logprobs, ms };
}
