// Owns POST /v1/chat/completions: its fields and its shapes.
import { z } from "zod";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { HttpError } from "./errors.ts";
import { chatLogprobs } from "./logprobs.ts";
import { common, parse, settings } from "./request.ts";
import type { Asked, Shape } from "./text.ts";

/** A text, or parts of which all are texts. */
const content = z
  .union([
    z.string(),
    z
      .array(z.object({ type: z.literal("text", "only parts of type text are supported"), text: z.string() }))
      .transform((parts) => parts.map(({ text }) => text).join("")),
  ])
  .nullish();
const schemaOf = z.record(z.string(), z.unknown());
const callOf = z.object({
  id: z.string(),
  type: z.literal("function", "only functions are supported"),
  function: z.object({ name: z.string(), arguments: z.string() }),
});
const toolOf = z.object({
  type: z.literal("function", "only functions are supported"),
  function: z.object({ name: z.string(), description: z.string().nullish(), parameters: schemaOf.nullish() }),
});
const formatOf = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({ type: z.literal("json_schema"), json_schema: z.object({ schema: schemaOf }) }),
]);

const schema = common.extend({
  messages: z
    .array(
      z.object({
        role: z.string(),
        content,
        name: z.string().nullish(),
        tool_calls: z.array(callOf).nullish(),
        tool_call_id: z.string().nullish(),
      }),
    )
    .min(1),
  max_completion_tokens: z.number().int().positive().nullish(),
  tools: z.array(toolOf).max(64).nullish(),
  tool_choice: z
    .union([
      z.enum(["auto", "none", "required"]),
      z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
    ])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: formatOf.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
});
type Body = z.output<typeof schema>;

export const CHAT: Shape = {
  prefix: "chatcmpl",
  object: "chat.completion",
  piece: "chat.completion.chunk",
  whole: (text, calls) => ({
    message: {
      ...{ role: "assistant", content: calls.length > 0 && text === "" ? null : text, refusal: null },
      ...(calls.length > 0 ? { tool_calls: calls.map(toolCall) } : {}),
    },
  }),
  delta: (text) => ({ delta: { content: text } }),
  first: { delta: { role: "assistant", content: "" } },
  last: { delta: {} },
  calls: (calls) => ({ delta: { tool_calls: calls.map((call, index) => ({ index, ...toolCall(call) })) } }),
  logprobs: (chunk) => chatLogprobs(chunk),
};

export function readChat(json: unknown): Asked {
  const body = parse(schema, json);
  const limit = body.max_completion_tokens ?? body.max_tokens;
  if (body.top_logprobs && !body.logprobs)
    throw new HttpError(
      400,
      "invalid_request_error",
      "invalid_value",
      "top_logprobs needs logprobs: true",
      "top_logprobs",
    );
  return {
    input: {
      ...settings({ ...body, max_tokens: limit }),
      messages: body.messages.map(message),
      ...answerForm(body),
      ...(body.logprobs ? { logprobs: body.top_logprobs ?? 0 } : {}),
    },
    stream: body.stream === true,
    includeUsage: body.stream_options?.include_usage === true,
    mostCalls: body.parallel_tool_calls === false ? 1 : Number.POSITIVE_INFINITY,
  };
}

function message({ role, content, name, tool_calls, tool_call_id }: Body["messages"][number]) {
  const toolCalls = tool_calls?.map(({ id, function: { name, arguments: json } }) => ({ id, name, arguments: json }));
  return {
    ...{ role, content: content ?? "" },
    ...(name ? { name } : {}),
    ...(toolCalls ? { toolCalls } : {}),
    ...(tool_call_id ? { toolCallId: tool_call_id } : {}),
  };
}

function answerForm({
  response_format,
  tools,
  tool_choice,
}: Body): Pick<Input<"model.generate">, "format" | "tools" | "toolChoice"> {
  const format =
    response_format?.type === "json_schema"
      ? { type: "json_schema" as const, schema: response_format.json_schema.schema }
      : response_format;
  const known = tools?.map(({ function: { name, description, parameters } }) => ({
    function: { name, ...(description ? { description } : {}), ...(parameters ? { parameters } : {}) },
  }));
  return {
    ...(format ? { format } : {}),
    ...(known?.length ? { tools: known } : {}),
    ...(tool_choice ? { toolChoice: typeof tool_choice === "string" ? tool_choice : tool_choice.function } : {}),
  };
}

const toolCall = ({ id, name, arguments: json }: Parameters<Shape["whole"]>[1][number]) => ({
  ...{ id, type: "function" },
  function: { name, arguments: json },
});
