// Owns the running of a text: ids from the scheduler, through the answer, to the caller; and its end with what made it.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Trace } from "../../kernel/ipc/trace.ts";
import { Answer, type Piece } from "./answer.ts";
import { Outbox } from "./outbox.ts";
import type { TextEnd, TextPlan } from "./plan.ts";
import { ToolCalls } from "./text/tools.ts";
import type { TextModel } from "./textmodel.ts";

type Run = Output<"scheduler.run">;

export interface Asked {
  /** What the scheduler calls the model, and the numerics of the one that is resident now. */
  model: string;
  numerics: string;
  principal: Principal;
  /** ms left, Infinity without a deadline: the scheduler may refuse what cannot be done by then. */
  left: number;
  /** Aborts when the caller cancels or the deadline passes. */
  signal: AbortSignal;
  /** Where its spans go, and what the scheduler is handed. */
  trace?: Trace | undefined;
  traceparent?: string;
  emit: (chunk: Piece) => Promise<void>;
}

/** One text from its plan to its end. `run` may be called again after it failed: it goes on with the ids that it has. */
export class Speech {
  private readonly answer: Answer;
  private numerics: string | undefined;
  private readonly startedAt: number;
  private firstAt: number | undefined;
  private lastAt: number | undefined;

  constructor(
    private readonly client: Client,
    private readonly text: TextModel,
    private readonly plan: TextPlan,
    private readonly now: () => number = () => performance.now(),
  ) {
    const { tools } = plan.asked;
    const names = new Set(tools?.list.map((tool) => tool.function.name));
    const calls = tools && new ToolCalls(tools.form, names, tools.forced, String(plan.sample.seed));
    this.answer = new Answer(text, plan.stop, plan.given, calls);
    this.numerics = plan.given.length > 0 ? plan.numerics : undefined;
    this.startedAt = now();
  }

  /** Resolves with all of `model.generate`'s end but the name of the model. ESERVICEDOWN: call it again. */
  async run({ emit, ...asked }: Asked): Promise<Omit<TextEnd, "model" | "version">> {
    this.checkNumerics(asked.numerics);
    const outbox = new Outbox(emit);
    outbox.add({ pos: this.answer.ids.length, ids: [], text: "", numerics: asked.numerics });
    const done = this.finished() ?? (await this.generate(asked, outbox));
    const rest = this.answer.finish();
    if (rest) outbox.add(rest);
    await outbox.drain();
    const { ids, text, stopped, calls } = this.answer;
    return {
      text,
      finish: calls.length > 0 ? "toolCalls" : stopped === undefined ? done.finish : "stop",
      ...(calls.length > 0 ? { toolCalls: [...calls] } : {}),
      numerics: asked.numerics,
      seed: this.plan.sample.seed,
      usage: { ...this.usage(done.usage), promptTokens: this.plan.prompt.length, newTokens: ids.length },
    };
  }

  private async generate(asked: Omit<Asked, "emit">, outbox: Outbox): Promise<Pick<Run, "finish"> & Partial<Run>> {
    const { plan, answer } = this;
    const base = answer.ids.length;
    const { schema } = plan.asked;
    const stream = this.client.stream(
      "scheduler.run",
      {
        model: asked.model,
        ids: [...plan.prompt, ...answer.ids],
        sample: plan.sample,
        maxNew: plan.maxNew - base,
        stopIds: [...this.text.stopIds],
        ...(schema === undefined ? {} : { constraint: { schema, made: base } }),
        ...(plan.logprobs === undefined ? {} : { logprobs: plan.logprobs }),
        ...(plan.device === undefined ? {} : { device: plan.device }),
      },
      {
        for: asked.principal,
        signal: asked.signal,
        ...(asked.traceparent ? { traceparent: asked.traceparent } : {}),
        ...(Number.isFinite(asked.left) ? { ttl: Math.max(1, Math.ceil(asked.left)) } : {}),
        complete: ({ newTokens }) => answer.ids.length - base >= newTokens || answer.stopped !== undefined,
      },
    );
    const from = performance.now();
    const figures = { tokens: 0, batches: 0, firstMs: 0 };
    try {
      for await (const { pos, ids, logprobs, top } of stream) {
        this.lastAt = this.now();
        this.firstAt ??= this.lastAt;
        if (figures.batches++ === 0) figures.firstMs = performance.now() - from;
        figures.tokens += ids.length;
        const piece = answer.push(base + pos, ids, logprobs, top);
        if (piece) outbox.add(piece);
        // Leaving the loop cancels the rest of the sequence.
        if (answer.stopped !== undefined) return { finish: "stop" };
      }
      return await stream.result;
    } finally {
      asked.trace?.add("run", from, performance.now(), figures);
    }
  }

  /** Of what was made here, not of what was given: ms to the first token and mean ms from each to the next, where there are any. */
  timing(): { tokens: number; firstMs?: number; tokenMs?: number } {
    const { startedAt, firstAt, lastAt, answer, plan } = this;
    const tokens = answer.ids.length - plan.given.length;
    if (firstAt === undefined || lastAt === undefined || tokens === 0) return { tokens };
    const firstMs = firstAt - startedAt;
    return tokens === 1 ? { tokens, firstMs } : { tokens, firstMs, tokenMs: (lastAt - firstAt) / (tokens - 1) };
  }

  /** What was given may be a whole answer already. */
  private finished(): { finish: "stop" | "length"; usage?: undefined } | undefined {
    const { ids, stopped } = this.answer;
    const last = ids.at(-1);
    if (stopped !== undefined || (last !== undefined && this.text.stopIds.includes(last))) return { finish: "stop" };
    if (ids.length < this.plan.maxNew) return undefined;
    // What is held to a schema is whole by then.
    return { finish: this.plan.asked.schema ? "stop" : "length" };
  }

  /** Other arithmetic continues with other numbers: only who says so gets that. */
  private checkNumerics(numerics: string): void {
    if (this.answer.ids.length > 0 && this.numerics !== undefined && this.numerics !== numerics) {
      if (!this.plan.approximate) {
        throw new SomaError(
          "ESERVICEDOWN",
          "the model came back with other arithmetic, so the text cannot go on exactly: ask again, or resume with approximate",
          { retryable: false },
        );
      }
    }
    this.numerics = numerics;
  }

  /** The scheduler's figures; of a sequence that we ended ourselves, or that was not run at all, our own. */
  private usage(usage: Run["usage"] | undefined): Run["usage"] {
    if (usage) return usage;
    const firstAt = this.firstAt ?? this.now();
    const [promptTokens, newTokens] = [this.plan.prompt.length, this.answer.ids.length];
    return {
      promptTokens,
      newTokens,
      computedTokens: this.firstAt === undefined ? 0 : promptTokens + newTokens,
      cachedTokens: 0,
      queueMs: firstAt - this.startedAt,
      runMs: this.now() - firstAt,
    };
  }
}
