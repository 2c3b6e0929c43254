// Owns the running requests: what each asked for, how it is planned and run. Their life cycle is in request.ts.
import { randomInt } from "node:crypto";
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Syscalls } from "../../kernel/abi/syscalls.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { Metrics } from "../../kernel/ipc/metrics.ts";
import type { Request } from "../../kernel/ipc/request.ts";
import type { Catalog } from "./catalog.ts";
import { schedulerEngine } from "./engine.ts";
import { evaluate } from "./evaluate.ts";
import { classifyAll, scoreAll } from "./labels.ts";
import { inParallel } from "./parallel.ts";
import { planClassify, planEmbed, planGenerate, planScore, planTranslate, type TextPlan } from "./plan.ts";
import type { ModelRecord } from "./record.ts";
import type { Found } from "./registry.ts";
import { residentId, type Wanted } from "./residents.ts";
import type { Rollouts, Side } from "./rollout/rollouts.ts";
import { Speech } from "./speech.ts";
import type { TextModel } from "./textmodel.ts";

type Calls = Pick<Syscalls["model"], "generate" | "translate" | "score" | "classify" | "embed" | "evaluate">;
export type RunCall = keyof Calls;
type Inputs = { [C in RunCall]: z.output<Calls[C]["input"]> };

/** One request while it runs. */
interface Live {
  request: Request;
  call: RunCall;
  input: Inputs[RunCall];
  /** After planning. */
  side?: Side;
  speech?: Speech;
  id?: string;
  wanted?: Wanted;
  run?: () => Promise<unknown>;
}

export interface RequestsOptions {
  client: Client;
  catalog: Catalog;
  rollouts: Pick<Rollouts, "choose" | "ended">;
  metrics: Pick<Metrics, "count" | "observe">;
  /** 1 to 2^32 - 1, for requests that name no seed. */
  freshSeed?: () => number;
}

const SAMPLES = 20;

export class Requests {
  private readonly live = new Map<string, Live>();
  private readonly client: Client;
  private readonly catalog: Catalog;
  private readonly rollouts: RequestsOptions["rollouts"];
  private readonly metrics: RequestsOptions["metrics"];
  private readonly freshSeed: () => number;

  constructor({ client, catalog, rollouts, metrics, freshSeed = () => randomInt(1, 0x1_0000_0000) }: RequestsOptions) {
    this.client = client;
    this.catalog = catalog;
    this.rollouts = rollouts;
    this.metrics = metrics;
    this.freshSeed = freshSeed;
  }

  open<C extends RunCall>(call: C, input: Inputs[C], request: Request): void {
    this.live.set(request.mid, { request, call, input });
  }

  get size(): number {
    return this.live.size;
  }

  /** What is to be run; EINVAL, ENOENT. From here on the request stays with this version, whatever is deployed meanwhile. */
  plan(mid: string): { id: string } {
    const live = this.find(mid);
    const from = performance.now();
    const { principal, key } = live.request;
    const { found, side } = this.rollouts.choose(live.input.model, { principal: principal.principal, key });
    if (side) live.side = side;
    const text = this.catalog.options.texts.of(found.record);
    live.run = this.planned(live, found, text);
    Object.assign(live, this.catalog.wanted(found));
    live.request.trace?.add("plan", from, performance.now());
    return { id: live.id! };
  }

  /** Resolves when the model is resident. */
  async need(mid: string): Promise<void> {
    const { id, wanted, request } = this.find(mid);
    const from = performance.now();
    await this.catalog.options.residents.need(id!, wanted!, request.mid);
    request.trace?.add("load", from, performance.now(), { model: id! });
  }

  run(mid: string): Promise<unknown> {
    return this.find(mid).run!();
  }

  /** What a request came to, for the side of a canary that it ran on. */
  settled(mid: string, error?: unknown): void {
    const { side, speech } = this.find(mid);
    if (side) this.rollouts.ended(side, error, speech?.timing() ?? {});
  }

  /** The end of a request, however it came. */
  forget(mid: string): void {
    const { id } = this.live.get(mid) ?? {};
    this.live.delete(mid);
    if (id !== undefined) this.catalog.options.residents.release(id, mid);
  }

  private find(mid: string): Live {
    const live = this.live.get(mid);
    if (live === undefined) throw new Error(`request ${mid} is not open`);
    return live;
  }

  /** Checks the input and gives what runs it: here for each call, in one place. */
  private planned({ call, input, request }: Live, found: Found, text: TextModel): () => Promise<unknown> {
    const { record } = found;
    const named = { model: record.name, version: record.version };
    const model = residentId(record, found.dtype);
    const options = { for: request.principal, signal: request.signal, traceparent: request.traceparent };
    // A new one for each run: what a lost run took is not in the answer's usage.
    const engineOf = () => schedulerEngine(this.client, model, options);
    switch (call) {
      case "generate":
        return this.speech(
          planGenerate(text, input as Inputs["generate"], this.freshSeed),
          model,
          record,
          text,
          request,
        );
      case "translate":
        return this.speech(
          planTranslate(text, input as Inputs["translate"], this.freshSeed),
          model,
          record,
          text,
          request,
        );
      case "score": {
        const { prompt, completions } = input as Inputs["score"];
        const plans = completions.map((completion) => planScore(text, prompt, completion));
        return async () => {
          const engine = engineOf();
          return { scores: await scoreAll(completions, plans, engine), ...named, usage: engine.tally };
        };
      }
      case "classify": {
        const asked = input as Inputs["classify"];
        const plans = planClassify(text, asked);
        return async () => {
          const engine = engineOf();
          return { results: await classifyAll(asked, plans, engine), ...named, usage: engine.tally };
        };
      }
      case "embed": {
        const { texts, pooling, normalize } = input as Inputs["embed"];
        const plans = texts.map((source) => planEmbed(text, source));
        return async () => {
          const engine = engineOf();
          const vectors = await inParallel(plans, (ids) => engine.embed(ids, pooling));
          return { vectors: normalize ? vectors.map(unit) : vectors, ...named, usage: engine.tally };
        };
      }
      case "evaluate": {
        const { split, limit } = input as Inputs["evaluate"];
        const examples = this.catalog.examples(record, split).slice(0, limit);
        if (examples.length === 0)
          throw new SomaError("EINVAL", `this model has no examples in split ${split}: choose another`);
        return async () => {
          const { samples, ...figures } = await evaluate(text, examples, engineOf());
          return { ...figures, samples: samples.slice(0, SAMPLES) };
        };
      }
    }
  }

  private measure(model: string, { tokens, firstMs, tokenMs }: ReturnType<Speech["timing"]>): void {
    this.metrics.count("soma_new_tokens_total", { model }, tokens);
    if (firstMs !== undefined) this.metrics.observe("soma_first_token_seconds", { model }, firstMs / 1000);
    if (tokenMs !== undefined) this.metrics.observe("soma_token_seconds", { model }, tokenMs / 1000);
  }

  private speech(plan: TextPlan, model: string, { name, version }: ModelRecord, text: TextModel, request: Request) {
    const speech = new Speech(this.client, text, plan);
    this.find(request.mid).speech = speech;
    return async () => {
      const loaded = this.catalog.options.residents.loaded(model);
      if (loaded === undefined) throw new SomaError("ESERVICEDOWN", `${model} went away before it was run`);
      const { principal, signal, left, trace, traceparent } = request;
      const emit = (chunk: object) => request.emit(chunk);
      const asked = { model, numerics: loaded.numerics, principal, signal, left, trace, traceparent, emit };
      const end = await speech.run(asked);
      this.measure(name, speech.timing());
      return { ...end, model: name, version };
    };
  }
}

/** The same direction, length 1; zeros stay zeros. */
function unit(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}
