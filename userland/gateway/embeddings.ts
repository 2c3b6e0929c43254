// Owns POST /v1/embeddings.
import { z } from "zod";
import type { CallOptions, Soma } from "../sdk/soma.ts";
import { parse } from "./request.ts";

const ids = z.array(z.number().int().nonnegative()).min(1);
const schema = z.object({
  model: z.string(),
  input: z.union(
    [z.string(), z.array(z.string()).min(1).max(2048), ids, z.array(ids).min(1).max(2048)],
    "give a text, a list of texts, the ids of one, or a list of those",
  ),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.null("dimensions is not supported: the model has its own").optional(),
});
/** `model.embed` takes so many texts at a time. */
const BATCH = 64;

export async function embeddings(soma: Soma, json: unknown, options: CallOptions): Promise<object> {
  const { model, input, encoding_format } = parse(schema, json);
  const texts = textsOf(input);
  const vectors: number[][] = [];
  let tokens = 0;
  for (let at = 0; at < texts.length; at += BATCH) {
    const batch = texts.slice(at, at + BATCH);
    const { vectors: more, usage } = await soma.model.embed({ model, texts: batch }, options);
    vectors.push(...more);
    tokens += usage.promptTokens;
  }
  const shown = (vector: number[]) =>
    encoding_format === "base64" ? Buffer.from(Float32Array.from(vector).buffer).toString("base64") : vector;
  return {
    object: "list",
    model,
    data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: shown(vector) })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

/** One text or several, each a string or its ids. */
function textsOf(input: z.output<typeof schema>["input"]): (string | number[])[] {
  if (typeof input === "string") return [input];
  return typeof input[0] === "number" ? [input as number[]] : (input as (string | number[])[]);
}
