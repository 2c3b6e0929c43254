// Owns what a request asks of the form of its answer: a JSON value of a schema, calls of tools; and how messages tell of calls.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { GenerateInput } from "./plan.ts";
import type { Message } from "./text/templates.ts";
import { callSchema, type Form, formOf, type Tool } from "./text/tools.ts";
import type { TextModel } from "./textmodel.ts";

export interface Asked {
  /** The answer is one JSON value of it. */
  schema?: Record<string, unknown>;
  tools?: {
    list: readonly Tool[];
    form: Form;
    /** The answer is a call; `form.opening` stands at the end of the prompt. */
    forced: boolean;
  };
}

/** A message has its limit, too, and so has the stack: deeper schemas are refused. */
const DEPTH = 64;

/** EINVAL: fields that do not go together, a model whose template knows no tools, a tool that is not there. */
export function asked(text: TextModel, { format, tools, toolChoice, messages, stop }: GenerateInput): Asked {
  const schema = schemaOf(format);
  const called = tools === undefined || toolChoice === "none" ? [] : tools;
  if (called.length === 0) {
    if (toolChoice !== "auto" && toolChoice !== "none")
      throw new SomaError("EINVAL", "toolChoice needs tools: give some");
    return limited(schema, stop);
  }
  if (schema) throw new SomaError("EINVAL", "give tools or a format, not both");
  if (messages === undefined) throw new SomaError("EINVAL", "tools need messages: a bare prompt knows none");
  const form = formOf(text.templates.chat ?? "");
  if (toolChoice === "auto") return { tools: { list: called, form, forced: false } };
  const name = typeof toolChoice === "object" ? toolChoice.name : undefined;
  const list = called.filter((tool) => name === undefined || tool.function.name === name);
  if (list.length === 0) throw new SomaError("EINVAL", `toolChoice names ${name}, which is none of the tools`);
  return { ...limited(callSchema(form, list), stop), tools: { list, form, forced: true } };
}

/** Messages as templates know them: what was called stands in them as values, not as text. */
export function spoken(messages: NonNullable<GenerateInput["messages"]>): Message[] {
  return messages.map(({ toolCalls, toolCallId, ...rest }) => ({
    ...rest,
    ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
    ...(toolCalls === undefined
      ? {}
      : {
          tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
            ...{ type: "function", id },
            function: { name, arguments: argumentsOf(json) },
          })),
        }),
  }));
}

function argumentsOf(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new SomaError("EINVAL", "the arguments of a tool call in messages are no JSON", { cause });
  }
}

function schemaOf(format: GenerateInput["format"]): Record<string, unknown> | undefined {
  if (format === undefined || format.type === "text") return undefined;
  return format.type === "json_object" ? { type: "object" } : format.schema;
}

function limited(schema: Record<string, unknown> | undefined, stop: readonly string[]): Asked {
  if (schema === undefined) return {};
  if (stop.length > 0)
    throw new SomaError("EINVAL", "a stop string would cut the JSON: leave stop out, it ends by itself");
  let level: unknown[] = [schema];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH) throw new SomaError("EINVAL", `the schema is nested deeper than ${DEPTH}`);
    level = level.flatMap((value) => (typeof value === "object" && value !== null ? Object.values(value) : []));
  }
  return { schema };
}
