// Owns POST /v1/completions: its fields and its shapes.
import { z } from "zod";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { common, parse, settings, unsupported } from "./request.ts";
import type { Shape } from "./text.ts";

const schema = common.extend({
  prompt: z.union([z.string(), z.tuple([z.string()], "give one prompt, as text").transform(([prompt]) => prompt)]),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish(),
  best_of: z.number().nullish(),
  logprobs: z.number().nullish(),
});

export const COMPLETION: Shape = {
  prefix: "cmpl",
  object: "text_completion",
  piece: "text_completion",
  whole: (text) => ({ text }),
  delta: (text) => ({ text }),
  last: { text: "" },
};

export function readCompletion(json: unknown): {
  input: Input<"model.generate">;
  stream: boolean;
  includeUsage: boolean;
} {
  const body = parse(schema, json);
  unsupported({
    echo: body.echo || undefined,
    suffix: body.suffix || undefined,
    best_of: body.best_of && body.best_of > 1 ? body.best_of : undefined,
    logprobs: body.logprobs ?? undefined,
  });
  return {
    input: { ...settings(body), prompt: body.prompt },
    stream: body.stream === true,
    includeUsage: body.stream_options?.include_usage === true,
  };
}
