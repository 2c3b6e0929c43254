// Owns POST /v1/embeddings.
import { z } from "zod";
import type { CallOptions, Soma } from "../sdk/soma.ts";
import { parse } from "./request.ts";

const schema = z.object({
  model: z.string(),
  input: z.union([z.string(), z.array(z.string()).min(1).max(2048)], "give a text or a list of texts"),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.null("dimensions is not supported: the model has its own").optional(),
});
/** `model.embed` takes so many texts at a time. */
const BATCH = 64;

export async function embeddings(soma: Soma, json: unknown, options: CallOptions): Promise<object> {
  const { model, input, encoding_format } = parse(schema, json);
  const texts = [input].flat();
  const vectors: number[][] = [];
  let tokens = 0;
  for (let at = 0; at < texts.length; at += BATCH) {
    const batch = texts.slice(at, at + BATCH);
    vectors.push(...(await soma.model.embed({ model, texts: batch }, options)).vectors);
    for (const text of batch)
      tokens += (await soma.model.tokenize({ model, text }, { signal: options.signal! })).ids.length;
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
