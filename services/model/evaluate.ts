// Owns how well a model does on examples: greedy answers against references, and the loss on the references themselves.
import { SomaError } from "../../kernel/abi/errors.ts";
import { inParallel } from "./parallel.ts";
import type { Evaluation } from "./record.ts";
import { chrF } from "./text/metrics/chrf.ts";
import { exactMatch } from "./text/metrics/exact.ts";
import { corpusScore } from "./text/metrics/metric.ts";
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

/** Figures over all examples, and each one's output. EINVAL without examples. */
export async function evaluate(
  text: TextModel,
  examples: readonly Example[],
  engine: Engine,
): Promise<Evaluation & { samples: Sample[] }> {
  if (examples.length === 0)
    throw new SomaError("EINVAL", "there are no examples to measure with: choose another split");
  const results = await inParallel(examples, (example) => one(text, example, engine));
  const outputs = results.map(({ output }) => output);
  const references = examples.map(({ target }) => target);
  const logprobs = results.flatMap((result) => result.logprobs);
  return {
    cases: examples.length,
    exactMatch: corpusScore(exactMatch, outputs, references),
    chrf: corpusScore(chrF, outputs, references),
    loss: -logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length,
    samples: examples.map(({ task, source, target }, i) => ({
      task,
      source,
      reference: target,
      output: outputs[i]!,
      correct: outputs[i]!.trim() === target.trim(),
    })),
  };
}

async function one(text: TextModel, example: Example, engine: Engine) {
  const { tokenizer, templates, stopIds, context } = text;
  const prompt = promptIds(tokenizer, templates, example.task, { source: example.source });
  const whole = exampleIds(tokenizer, templates, example);
  // An answer twice as long as the reference is wrong already: no need to see how it ends.
  const room = Math.min(context - prompt.length, 2 * (whole.ids.length - prompt.length) + 8);
  const [answer, logprobs] = await Promise.all([
    engine.answer(prompt, room, stopIds),
    engine.score(whole.ids, whole.ids.length - whole.promptLength),
  ]);
  const ends = new Set(stopIds);
  return { output: tokenizer.decode(answer.filter((id) => !ends.has(id))), logprobs };
}
