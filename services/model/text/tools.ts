// Owns how models call tools: the forms that chat templates teach them, how a call is told from text while it comes, and the
// schema of a call for a model that must make one.
import { createHash } from "node:crypto";
import { SomaError } from "../../../kernel/abi/errors.ts";

export interface Tool {
  function: { name: string; parameters?: Record<string, unknown> | undefined };
}
export interface Call {
  id: string;
  name: string;
  /** JSON. */
  arguments: string;
}
type Json = Record<string, unknown>;

export interface Form {
  /** What a template of this form has in it. */
  sign: string;
  /** Stands before a call, to be put before one that must come. */
  opening: string;
  closing: string;
  /** A call may stand anywhere after text; otherwise the whole answer is one or none, and begins with `first`. */
  anywhere: boolean;
  first: "{" | "[";
  arguments: "arguments" | "parameters";
}

/** The first whose sign a template has is its form. */
const FORMS: readonly Form[] = [
  // Hermes, Qwen 2.5 and 3, and many others.
  {
    ...{ sign: "<tool_call>", opening: "<tool_call>\n", closing: "</tool_call>", anywhere: true, first: "{" },
    arguments: "arguments",
  },
  // Mistral: the marker is a special token, which is no text.
  {
    ...{ sign: "[TOOL_CALLS]", opening: "[TOOL_CALLS]", closing: "", anywhere: false, first: "[" },
    arguments: "arguments",
  },
  // Llama 3: the answer is the call.
  { ...{ sign: '"parameters"', opening: "", closing: "", anywhere: false, first: "{" }, arguments: "parameters" },
];
/** Signs of forms that are none of ours though one of ours stands in their templates, too. */
const FOREIGN = ["<function=", "[ARGS]", "<arg_key>"];

/** EINVAL for a template that knows no tools, or calls them in another form. */
export function formOf(chat: string): Form {
  if (!/\btools\b/.test(chat))
    throw new SomaError("EINVAL", "this model's chat template knows no tools: leave tools out, or use format");
  const form = FOREIGN.some((sign) => chat.includes(sign)) ? undefined : FORMS.find(({ sign }) => chat.includes(sign));
  if (form !== undefined) return form;
  throw new SomaError(
    "EINVAL",
    "this model calls tools in a form that is not read here: those of Hermes and Qwen, Mistral and Llama 3 are",
  );
}

/** What follows `opening` in a call of one of `tools`, as a schema. */
export function callSchema(form: Form, tools: readonly Tool[]): Json {
  const at = form.first === "[" ? "#/items/anyOf" : "#/anyOf";
  const anyOf = tools.map(({ function: { name, parameters } }, i) => ({
    type: "object",
    properties: {
      name: { const: name },
      [form.arguments]: rebased(parameters ?? { type: "object" }, `${at}/${i}/properties/${form.arguments}`),
    },
    required: ["name", form.arguments],
    additionalProperties: false,
  }));
  return form.first === "[" ? { type: "array", items: { anyOf }, minItems: 1, maxItems: 1 } : { anyOf };
}

/** References of a schema that now stands at `path` of another. */
function rebased<T>(schema: T, path: string): T {
  if (Array.isArray(schema)) return schema.map((part) => rebased(part, path)) as T;
  if (typeof schema !== "object" || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, value]) => [
    key,
    key === "$ref" && typeof value === "string" && value.startsWith("#") ? path + value.slice(1) : rebased(value, path),
  ]);
  return Object.fromEntries(entries);
}

/** Text in, what of it may be shown out; calls at the end. What looked like a call and is none comes out as text after all. */
export class ToolCalls {
  private held = "";
  private holding = false;
  /** Text was shown already. */
  private begun = false;

  constructor(
    private readonly form: Form,
    private readonly names: ReadonlySet<string>,
    /** The answer is a call, of which `opening` stands before it. */
    private readonly forced: boolean,
    /** Makes ids of calls differ from those of other answers. */
    private readonly salt: string,
  ) {
    this.holding = forced;
  }

  push(text: string): string {
    this.held += text;
    if (this.holding) return "";
    const from = this.begins();
    this.holding = from !== undefined && from < this.held.length && this.sure(from);
    const shown = this.held.slice(0, from ?? this.held.length);
    this.held = this.held.slice(shown.length);
    this.begun ||= shown !== "";
    return shown;
  }

  /** At the end: the calls, or the text that was held back and is none. */
  finish(): { text: string; calls: Call[] } {
    const { held } = this;
    this.held = "";
    const calls = held === "" ? [] : this.read(held);
    return calls === undefined ? { text: held, calls: [] } : { text: "", calls };
  }

  /** From where on what is held is a call, or might become one. */
  private begins(): number | undefined {
    const { held, form } = this;
    if (!form.anywhere) {
      if (this.begun) return undefined;
      const start = held.search(/\S/);
      return start < 0 ? 0 : [form.first, form.opening[0]].includes(held[start]!) ? 0 : undefined;
    }
    const at = held.indexOf(form.sign);
    if (at >= 0) return at;
    for (let length = Math.min(form.sign.length - 1, held.length); length > 0; length--)
      if (form.sign.startsWith(held.slice(held.length - length))) return held.length - length;
    return undefined;
  }

  private sure(from: number): boolean {
    return this.form.anywhere ? this.held.startsWith(this.form.sign, from) : this.held.trim() !== "";
  }

  private read(text: string): Call[] | undefined {
    const { form } = this;
    // A last call that its closing does not follow is one, too: models end right after it.
    const parts = form.anywhere && !this.forced ? text.split(form.sign).slice(1) : [text.trim()];
    const values: unknown[] = [];
    for (const part of parts) {
      const bare = form.closing === "" ? part.replace(/^\[TOOL_CALLS\]/, "") : part.split(form.closing)[0]!;
      try {
        values.push(...[JSON.parse(bare)].flat());
      } catch {
        // Not JSON, so no call: it is shown as the text that it is.
        return undefined;
      }
    }
    const calls = values.map((value, i) => this.call(value, i));
    return calls.every((call) => call !== undefined) && calls.length > 0 ? calls : undefined;
  }

  private call(value: unknown, index: number): Call | undefined {
    const { name, arguments: args, parameters = args } = (value ?? {}) as Json;
    if (typeof name !== "string" || !this.names.has(name)) return undefined;
    const json = JSON.stringify(parameters ?? {});
    // Nine letters and digits, as Mistral's templates want them.
    const id = createHash("sha256").update(`${this.salt} ${index} ${name} ${json}`).digest("hex").slice(0, 9);
    return { id, name, arguments: json };
  }
}
