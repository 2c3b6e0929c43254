// Owns what a request becomes before anything runs: ids, limits, seed. Pure; says EINVAL with the figures.

import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { OutputOf, Syscall } from "../../kernel/abi/syscall.ts";
import type { Entry } from "../../kernel/abi/syscalls.ts";
import { type Asked, asked, spoken } from "./format.ts";
import { chatIds, promptIds, type TaskTemplate } from "./text/templates.ts";
import type { TextModel } from "./textmodel.ts";

type Parsed<S extends Syscall> = z.output<S["input"]>;
export type GenerateInput = Parsed<Entry<"model.generate">>;
export type TranslateInput = Parsed<Entry<"model.translate">>;
export type ClassifyInput = Parsed<Entry<"model.classify">>;
export type TextEnd = OutputOf<Entry<"model.generate">>;

/** One text to make. */
export interface TextPlan {
  prompt: number[];
  /** Ids that the caller has already: made again as state, not sent again. */
  given: number[];
  /** Numerics that made them; undefined when the caller does not say. */
  numerics: string | undefined;
  approximate: boolean;
  sample: GenerateInput["sample"];
  /** New ids in all, the given ones included. */
  maxNew: number;
  stop: string[];
  /** Of the answer's form. */
  asked: Asked;
  /** So many likeliest ids with each token, and its own log-probability. */
  logprobs?: number;
  /** Where alone it may run. */
  device?: string;
}

const LANGUAGE = /^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/;
/** Used when a caller does not say how many tokens it wants. */
const DEFAULT_NEW = 512;

/** A prompt as it is given, a task, or a conversation. `freshSeed` is called when the request names no seed. */
export function planGenerate(text: TextModel, input: GenerateInput, freshSeed: () => number): TextPlan {
  const { prompt, messages, task } = input;
  if ((prompt === undefined) === (messages === undefined)) {
    throw new SomaError("EINVAL", "give either a prompt or messages");
  }
  const form = asked(text, input);
  const extra = { ...(task === undefined ? {} : { task }), ...(form.tools ? { tools: input.tools } : {}) };
  const ids =
    messages !== undefined
      ? chatIds(text.tokenizer, text.templates, spoken(messages), extra)
      : promptIds(text.tokenizer, text.templates, task ?? defaultTask(text), { source: prompt ?? "" });
  if (form.tools?.forced) ids.push(...text.tokenizer.encodeTemplate(form.tools.form.opening));
  const { logprobs } = input;
  return { ...plan(text, input, ids, freshSeed), asked: form, ...(logprobs === undefined ? {} : { logprobs }) };
}

/** EINVAL for a pair that the model was not trained for: it names those that it was. */
export function planTranslate(text: TextModel, input: TranslateInput, freshSeed: () => number): TextPlan {
  const { text: source, from, to } = input;
  const bad = [from, to].find((code) => !LANGUAGE.test(code));
  if (bad !== undefined) throw new SomaError("EINVAL", `"${bad}" is no language code: use one like en or zh`);
  return plan(text, input, promptIds(text.tokenizer, text.templates, "translate", { source, from, to }), freshSeed);
}

/** Prompt and completion as ids; `scored` of them, from the end, belong to the completion. */
export interface Scored {
  ids: number[];
  scored: number;
}

export function planScore(text: TextModel, prompt: string, completion: string): Scored {
  return planAfter(text, [...text.tokenizer.opening, ...text.tokenizer.encode(prompt)], completion);
}

/** The labels of each text, all those of the first text first, and at the end those of an empty one if asked for. EINVAL. */
export function planClassify(text: TextModel, { texts, labels, template, chat, calibrate }: ClassifyInput): Scored[] {
  if (new Set(labels).size < labels.length)
    throw new SomaError("EINVAL", "a label stands twice in labels: name it once");
  if (!template.includes("{text}"))
    throw new SomaError("EINVAL", "the template has no {text}: say where the text goes, as in '{text} Topic: '");
  // A space belongs to the word after it, which is how tokenizers cut.
  const space = !chat && template.endsWith(" ") ? " " : "";
  const base = template.slice(0, template.length - space.length);
  return [...texts, ...(calibrate ? [""] : [])].flatMap((one) => {
    const fields: Readonly<Record<string, string>> = { text: one, labels: labels.join(", ") };
    const filled = base.replace(/\{(text|labels)\}/g, (_, field: string) => fields[field]!);
    const before = chat
      ? chatIds(text.tokenizer, text.templates, [{ role: "user", content: filled }])
      : [...text.tokenizer.opening, ...text.tokenizer.encode(filled)];
    return labels.map((label) => planAfter(text, before, space + label));
  });
}

function planAfter(text: TextModel, before: readonly number[], completion: string): Scored {
  const after = text.tokenizer.encode(completion);
  if (after.length === 0) throw new SomaError("EINVAL", "a completion is empty: there is nothing to score");
  if (before.length === 0)
    throw new SomaError("EINVAL", "the prompt is empty: this model needs one token before a completion");
  const ids = [...before, ...after];
  checkRoom(text, ids.length, 0);
  return { ids, scored: after.length };
}

/** A text as ids, or ids as they are. */
export function planEmbed(text: TextModel, source: string | readonly number[]): number[] {
  const ids = typeof source === "string" ? [...text.tokenizer.opening, ...text.tokenizer.encode(source)] : [...source];
  const top = text.tokenizer.vocabSize;
  if (ids.some((id) => id >= top)) throw new SomaError("EINVAL", `the ids of a text must be below ${top}`);
  if (ids.length === 0) throw new SomaError("EINVAL", "a text is empty: there is nothing to embed");
  checkRoom(text, ids.length, 0);
  return ids;
}

function plan(
  text: TextModel,
  input: GenerateInput | TranslateInput,
  prompt: number[],
  freshSeed: () => number,
): TextPlan {
  if (prompt.length === 0) throw new SomaError("EINVAL", "the prompt is empty: give at least one character");
  checkRoom(text, prompt.length, 1);
  const given = input.resume?.ids ?? [];
  const maxNew = Math.min(input.maxTokens ?? DEFAULT_NEW, text.context - prompt.length);
  const top = text.tokenizer.vocabSize;
  if (given.some((id) => id >= top)) throw new SomaError("EINVAL", `resume.ids must be below ${top}`);
  return {
    prompt,
    given,
    numerics: input.resume?.numerics,
    approximate: input.resume?.approximate ?? false,
    sample: { ...input.sample, seed: input.sample.seed || freshSeed() },
    maxNew,
    stop: input.stop,
    asked: {},
    ...(input.device === undefined ? {} : { device: input.device }),
  };
}

function checkRoom({ context }: TextModel, length: number, room: number): void {
  if (length + room <= context) return;
  throw new SomaError(
    "EINVAL",
    `the prompt has ${length} tokens and the model's context ${context}: shorten it to ${context - room} at most`,
  );
}

/** A bare prompt goes on as text: with the marker of "continue" where the model learned that, else without any. */
function defaultTask({ templates }: TextModel): string {
  const tasks: Readonly<Record<string, TaskTemplate>> = templates.tasks;
  return ["continue", "complete"].find((task) => Object.hasOwn(tasks, task)) ?? Object.keys(tasks)[0] ?? "continue";
}
