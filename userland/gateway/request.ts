// Owns what text requests have in common: OpenAI's fields, checked and turned into ours. A field that we cannot honour is refused, never ignored.
import { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { HttpError } from "./errors.ts";

const nullable = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined);
/** Only the value that changes nothing. */
const only = <T>(neutral: T, what: string) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || value === neutral, `${what} is not supported`)
    .optional();

export const common = z.object({
  model: z.string(),
  stream: nullable(z.boolean()),
  stream_options: nullable(z.object({ include_usage: z.boolean().nullish() })),
  max_tokens: nullable(z.number().int().positive()),
  temperature: nullable(z.number().min(0).max(10)),
  top_p: nullable(z.number().min(0).max(1)),
  stop: nullable(z.union([z.string(), z.array(z.string())])),
  seed: nullable(z.number().int()),
  // Not OpenAI's, but what other servers of its kind call them.
  top_k: nullable(z.number().int().min(0)),
  min_p: nullable(z.number().min(0).max(1)),
  repetition_penalty: nullable(z.number().min(0.1).max(10)),
  n: only(1, "n other than 1"),
  presence_penalty: only(0, "presence_penalty"),
  frequency_penalty: only(0, "frequency_penalty"),
  logit_bias: z.strictObject({}, "logit_bias is not supported").nullish(),
});
export type Common = z.output<typeof common>;

/** 400 with the field's name unless `body` fits. */
export function parse<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  const param = path.join(".");
  throw new HttpError(
    400,
    "invalid_request_error",
    "invalid_value",
    param ? `${param}: ${message}` : message,
    param || null,
  );
}

/** What `model.generate` is told besides the text. Without a temperature it is greedy, as everywhere in Soma. */
export function settings(body: Common): Omit<Input<"model.generate">, "prompt" | "messages"> {
  const { temperature, top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty, seed } = body;
  const sample = {
    temperature,
    topP,
    topK,
    minP,
    repetitionPenalty,
    seed: seed === undefined ? undefined : seed >>> 0,
  };
  return {
    model: body.model,
    sample: Object.fromEntries(Object.entries(sample).filter(([, value]) => value !== undefined)),
    ...(body.max_tokens === undefined ? {} : { maxTokens: body.max_tokens }),
    ...(body.stop === undefined ? {} : { stop: [body.stop].flat().filter((text) => text !== "") }),
  };
}

/** ENOSYS when a field is there that the system has no call for. */
export function unsupported(fields: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(fields))
    if (value !== undefined) throw new SomaError("ENOSYS", `${name} is not supported yet: leave it out`);
}
