// Owns POST /v1/chat/completions: its fields and its shapes.
import { z } from "zod";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { common, parse, settings, unsupported } from "./request.ts";
import type { Shape } from "./text.ts";

/** A text, or parts of which all are texts. */
const content = z.union([
  z.string(),
  z
    .array(z.object({ type: z.literal("text", "only parts of type text are supported"), text: z.string() }))
    .transform((parts) => parts.map(({ text }) => text).join("")),
]);

const schema = common.extend({
  messages: z
    .array(z.object({ role: z.string(), content, tool_calls: z.null("tool calls are not supported yet").optional() }))
    .min(1),
  max_completion_tokens: z.number().int().positive().nullish(),
  tools: z.array(z.unknown()).nullish(),
  response_format: z.object({ type: z.string() }).nullish(),
  logprobs: z.boolean().nullish(),
});

export const CHAT: Shape = {
  prefix: "chatcmpl",
  object: "chat.completion",
  piece: "chat.completion.chunk",
  whole: (text) => ({ message: { role: "assistant", content: text, refusal: null } }),
  delta: (text) => ({ delta: { content: text } }),
  first: { delta: { role: "assistant", content: "" } },
  last: { delta: {} },
};

export function readChat(json: unknown): { input: Input<"model.generate">; stream: boolean; includeUsage: boolean } {
  const body = parse(schema, json);
  unsupported({
    tools: body.tools?.length ? body.tools : undefined,
    response_format: body.response_format && body.response_format.type !== "text" ? body.response_format : undefined,
    logprobs: body.logprobs || undefined,
  });
  const limit = body.max_completion_tokens ?? body.max_tokens;
  const messages = body.messages.map(({ role, content }) => ({ role, content }));
  return {
    input: { ...settings({ ...body, max_tokens: limit }), messages },
    stream: body.stream === true,
    includeUsage: body.stream_options?.include_usage === true,
  };
}
