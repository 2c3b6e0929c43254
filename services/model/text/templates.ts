// Owns how a task becomes ids: for training examples and for requests alike, from tables that travel with the model.
import { Template } from "@huggingface/jinja";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Message {
  role: string;
  content: string;
  [field: string]: unknown;
}

/**
 * `prompt` and `target` are lists of segments: the name of a special token, or text in which {field} is filled in.
 * `messages` says the same through the model's chat template, for models that know no task tokens.
 * `only` names the values of a field that the model was trained for.
 */
export type TaskTemplate = ({ prompt: readonly string[] } | { messages: readonly Message[] }) & {
  target?: readonly string[];
  only?: Readonly<Record<string, readonly string[]>>;
};

export interface Templates {
  tasks: Readonly<Record<string, TaskTemplate>>;
  /** Jinja, as in tokenizer_config.json. */
  chat?: string;
  bos?: string;
  eos?: string;
}

/** What a model can do that came without a table of its own. {opening} is what its tokenizer puts before a text. */
export const DEFAULT_TASKS: Readonly<Record<string, TaskTemplate>> = {
  complete: { prompt: ["{opening}", "{source}"] },
  continue: { prompt: ["{opening}", "{source}"] },
  translate: {
    messages: [
      { role: "user", content: "Translate from {from} into {to}. Answer with the translation only.\n\n{source}" },
    ],
  },
  answer: { messages: [{ role: "user", content: "{source}" }] },
};

const languageName = (code: string) => new Intl.DisplayNames(["en"], { type: "language" }).of(code) ?? code;

/** Fields that requests give as a code and templates write as a word. */
const SPELT: Readonly<Record<string, (value: string) => string>> = { from: languageName, to: languageName };

/** The prompt of a task as ids. EINVAL for a task or field that is not there. */
export function promptIds(
  tokenizer: Tokenizer,
  templates: Templates,
  task: string,
  fields: Readonly<Record<string, string>>,
): number[] {
  const template = templateOf(templates, task);
  for (const [field, values] of Object.entries(template.only ?? {})) {
    const value = fields[field];
    if (value === undefined || values.includes(value)) continue;
    throw new SomaError("EINVAL", `this model's ${task} has ${field} ${values.join(", ")} only, not ${value}`);
  }
  if ("prompt" in template) return segmentIds(tokenizer, template.prompt, fields);
  const messages = template.messages.map((m) => ({ ...m, content: fill(m.content, fields) }));
  return chatIds(tokenizer, templates, messages);
}

/** One training example: the prompt is given, what follows it is learned. `promptLength` counts ids. */
export function exampleIds(
  tokenizer: Tokenizer,
  templates: Templates,
  { task, source, target }: { task: string; source: string; target: string },
): { ids: number[]; promptLength: number } {
  const prompt = promptIds(tokenizer, templates, task, { source });
  const segments = templateOf(templates, task).target ?? ["{target}", ...(templates.eos ? [templates.eos] : [])];
  return { ids: [...prompt, ...segmentIds(tokenizer, segments, { target })], promptLength: prompt.length };
}

/**
 * A conversation as ids, ready for the model's next turn. `extra` are further variables of the template (tools, task, ...).
 * EINVAL when the model has no chat template or the template itself refuses the messages.
 */
export function chatIds(
  tokenizer: Tokenizer,
  { chat, bos = "", eos = "" }: Templates,
  messages: readonly Message[],
  extra: Readonly<Record<string, unknown>> = {},
): number[] {
  if (!chat) throw new SomaError("EINVAL", "this model has no chat template; give a prompt instead of messages");
  const guarded = (value: unknown): unknown => {
    if (typeof value === "string") return tokenizer.guard(value);
    if (Array.isArray(value)) return value.map(guarded);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [tokenizer.guard(key), guarded(inner)]));
  };
  const { tools } = extra;
  let text: string;
  try {
    text = new Template(chat).render({
      messages: messages.map(guarded),
      add_generation_prompt: true,
      bos_token: bos,
      eos_token: eos,
      ...extra,
      ...(tools === undefined ? {} : { tools: guarded(tools) }),
    });
  } catch (cause) {
    throw new SomaError("EINVAL", `the model's chat template refuses this: ${(cause as Error).message}`, { cause });
  }
  return tokenizer.encodeTemplate(text);
}

function templateOf(templates: Templates, task: string): TaskTemplate {
  const template = Object.hasOwn(templates.tasks, task) ? templates.tasks[task] : undefined;
  if (template) return template;
  throw new SomaError("EINVAL", `no task "${task}"; this model knows ${Object.keys(templates.tasks).join(", ")}`);
}

function segmentIds(
  tokenizer: Tokenizer,
  segments: readonly string[],
  fields: Readonly<Record<string, string>>,
): number[] {
  return segments.flatMap((segment) => {
    if (segment === "{opening}") return [...tokenizer.opening];
    return segment.includes("{") ? tokenizer.encode(fill(segment, fields)) : tokenizer.encodeTemplate(segment);
  });
}

function fill(text: string, fields: Readonly<Record<string, string>>): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = fields[name];
    if (value === undefined) throw new SomaError("EINVAL", `the task needs the field "${name}"`);
    return SPELT[name]?.(value) ?? value;
  });
}
