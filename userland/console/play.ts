// Owns what the playground asks of a model: its fields, and the answer as server-sent events that end with whoever reads them.
import { z } from "zod";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import type { Soma } from "../sdk/soma.ts";

const common = {
  model: z.string().min(1).default("default"),
  maxTokens: z.number().int().min(1).max(100_000).default(256),
  temperature: z.number().min(0).max(10).default(0),
  seed: z.number().int().min(0).max(0xffffffff).default(0),
};
const schema = z.discriminatedUnion("kind", [
  z.object({
    ...common,
    kind: z.literal("chat"),
    messages: z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() })).min(1),
  }),
  z.object({ ...common, kind: z.literal("translate"), text: z.string().min(1), from: z.string(), to: z.string() }),
  z.object({ ...common, kind: z.literal("complete"), text: z.string().min(1), task: z.string().optional() }),
]);
export type Play = z.output<typeof schema>;

/** EINVAL, naming the field. */
export function readPlay(json: unknown): Play {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new SomaError("EINVAL", `${issue.path.join(".") || "body"}: ${issue.message}`);
}

function open(soma: Soma, play: Play, signal: AbortSignal) {
  const { model, maxTokens, temperature, seed } = play;
  const input = { model, maxTokens, sample: { temperature, seed } };
  if (play.kind === "translate")
    return soma.model.translate({ ...input, text: play.text, from: play.from, to: play.to }, { signal });
  if (play.kind === "chat") return soma.model.generate({ ...input, messages: play.messages }, { signal });
  const { text: prompt, task } = play;
  return soma.model.generate({ ...input, prompt, ...(task === undefined ? {} : { task }) }, { signal });
}

/** `{text}` for each piece, then `{end}` or `{problem}`. The call ends when the reader leaves or `signal` aborts. */
export function answer(soma: Soma, play: Play, signal: AbortSignal): ReadableStream<Uint8Array> {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(), { once: true });
  const events = told(soma, play, stop.signal);
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { value, done } = await events.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(`data: ${JSON.stringify(value)}\n\n`));
      },
      cancel: () => stop.abort(),
    },
    { highWaterMark: 0 },
  );
}

async function* told(soma: Soma, play: Play, signal: AbortSignal): AsyncGenerator<object> {
  try {
    const stream = open(soma, play, signal);
    for await (const { text } of stream) if (text !== "") yield { text };
    const { finish, model, version, seed, usage } = await stream.result;
    yield { end: { finish, model: `${model}@${version}`, seed, usage } };
  } catch (error) {
    if (!isSomaError(error)) throw error;
    yield { problem: { code: error.code, message: error.message } };
  }
}
