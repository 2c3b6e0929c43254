// Owns the calls that every service answers, and the schemas that several tables share.
import { z } from "zod";
import { type Syscall, table } from "../syscall.ts";

export const none = z.object({});
export const name = z.string().regex(/^[a-z0-9-]{1,32}$/, 'use 1 to 32 of a-z, 0-9 and "-"');
export const blob = z.string().regex(/^blob:[0-9a-f]{64}$/, "use blob:<sha256>");
export const bytes = z.instanceof(Uint8Array);
export const count = z.number().int().nonnegative();
/** Anything that JSON can hold. */
export const json: z.ZodType<unknown> = z.unknown();
export const record = z.record(z.string(), json);

/** One transition of an actor, names and ids only. */
export const transition = z.object({
  at: z.number(),
  actor: z.string(),
  event: z.string(),
  from: z.string(),
  to: z.string(),
});

/** A metric and its values now: names and meaning stand in kernel/abi/metrics.ts. Of a histogram, `metricName` says which part. */
export const metricFamily = z.object({
  name: z.string(),
  help: z.string(),
  type: z.string(),
  aggregator: z.string(),
  values: z.array(
    z.object({
      value: z.number(),
      labels: z.record(z.string(), z.union([z.string(), z.number()])),
      metricName: z.string().optional(),
    }),
  ),
});

/** Control calls take the id of the caller's own earlier request; all three may be repeated without harm. */
export const common = table({
  cancel: {
    kind: "call",
    what: "end one of the caller's own running requests",
    right: "app",
    idempotent: true,
    ttl: 2_000,
    input: z.object({ id: z.string().max(64) }),
    output: z.object({ found: z.boolean() }),
  },
  credit: {
    kind: "call",
    what: "say how many chunks of a stream were read so far",
    right: "app",
    idempotent: true,
    ttl: 2_000,
    input: z.object({ id: z.string().max(64), read: count }),
    output: z.object({ found: z.boolean() }),
  },
  chunk: {
    kind: "call",
    what: "send a numbered piece of an upload",
    right: "app",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ id: z.string().max(64), seq: count, data: json, last: z.boolean().optional() }),
    output: z.object({ next: count }),
  },
  stat: {
    kind: "call",
    what: "show a service's own figures",
    right: "person",
    idempotent: true,
    ttl: 2_000,
    input: none,
    output: z.object({
      instance: z.string(),
      epoch: count,
      state: json,
      /** By its own clock, unix ms. */
      now: z.number(),
      uptimeMs: z.number(),
      inflight: count,
      figures: record,
    }),
  },
  metrics: {
    kind: "call",
    what: "show an actor's metrics: see docs/metrics.md",
    right: "person",
    idempotent: true,
    ttl: 2_000,
    input: none,
    output: z.object({ metrics: z.array(metricFamily) }),
  },
  inspect: {
    kind: "call",
    what: "show an actor's statechart, state and last transitions; to a person its context without secrets, too",
    right: "viewer",
    idempotent: true,
    ttl: 2_000,
    input: z.object({ actor: z.string().optional() }),
    output: z.object({
      actors: z.array(
        z.object({
          id: z.string(),
          state: json,
          context: json,
          definition: json,
          transitions: z.array(transition),
        }),
      ),
    }),
  },
  watch: {
    kind: "call",
    what: "have transitions published as events for the next ten seconds",
    right: "person",
    idempotent: true,
    ttl: 2_000,
    input: none,
    output: z.object({ untilMs: z.number() }),
  },
}) satisfies Record<string, Syscall>;
