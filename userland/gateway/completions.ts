// Owns POST /v1/completions: its fields and its shapes.
import { z } from "zod";
import { completionLogprobs } from "./logprobs.ts";
import { common, parse, settings, unsupported } from "./request.ts";
import type { Asked, Shape } from "./text.ts";

const schema = common.extend({
  prompt: z.union([z.string(), z.tuple([z.string()], "give one prompt, as text").transform(([prompt]) => prompt)]),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish(),
  best_of: z.number().nullish(),
  logprobs: z.number().int().min(0).max(20).nullish(),
});

export const COMPLETION: Shape = {
  prefix: "cmpl",
  object: "text_completion",
  piece: "text_completion",
  whole: (text) => ({ text }),
  delta: (text) => ({ text }),
  last: { text: "" },
  calls: () => ({ text: "" }),
  logprobs: completionLogprobs,
};

export function readCompletion(json: unknown): Asked {
  const body = parse(schema, json);
  unsupported({
    echo: body.echo || undefined,
    suffix: body.suffix || undefined,
    best_of: body.best_of && body.best_of > 1 ? body.best_of : undefined,
  });
  const { logprobs } = body;
  return {
    input: { ...settings(body), prompt: body.prompt, ...(typeof logprobs === "number" ? { logprobs } : {}) },
    stream: body.stream === true,
    includeUsage: body.stream_options?.include_usage === true,
    mostCalls: 0,
  };
}
