// Owns the model service's calls about which version people get: promotion through a gate, a canary, and the way back.
import { z } from "zod";
import { table } from "../syscall.ts";
import { count, none } from "./common.ts";
import { dataRef } from "./data.ts";

const ref = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[0-9]+)?$/, "use name or name@version");
const alias = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
const dtype = z.enum(["f32", "int8", "int4"]);
const metric = z.enum(["exactMatch", "chrf", "loss", "perplexity", "answerMs"]);

/** One measurement that a version must pass. Without `data` it is made on what the version itself held out. */
export const gateCheck = z.object({
  metric,
  data: dataRef.optional(),
  split: z.enum(["train", "validation", "test", "handwritten"]).default("test"),
  /** So many cases, the first ones. */
  limit: count.max(10_000).default(200),
  min: z.number().optional(),
  max: z.number().optional(),
  /** At most so much worse than what the alias points at now: 0.02 is 2 %. */
  worse: z.number().nonnegative().optional(),
});

export const checked = z.object({
  metric,
  data: z.string(),
  split: z.string(),
  cases: count,
  value: z.number(),
  /** The middle 95 % of the values of as many cases drawn anew (bootstrap, 1,000 times). */
  low: z.number(),
  high: z.number(),
  /** What the alias points at now reached. */
  before: z.number().optional(),
  passed: z.boolean(),
  /** In words: "0.61 >= 0.5". */
  why: z.string(),
});

/** What one side of a canary did since it began. */
export const arm = z.object({
  model: z.string(),
  version: count,
  requests: count,
  /** Those that failed though the caller did nothing wrong. */
  failures: count,
  /** ms to the first token and between tokens, of the last 1,000: median and 95th percentile. */
  firstMs: z.tuple([z.number(), z.number()]).nullable(),
  tokenMs: z.tuple([z.number(), z.number()]).nullable(),
});

/** When a canary ends by itself. */
export const rule = z.object({
  /** Fewer requests of the canary say nothing. */
  requests: count.min(1).default(50),
  /** Rolled back when its share of failures is so much above the other side's. */
  failures: z.number().min(0).max(1).default(0.02),
  /** Rolled back when its 95th percentile between tokens is so many times the other side's. */
  slower: z.number().min(1).default(2),
  /** Promoted after so many requests; never when absent. */
  promoteAfter: count.min(1).optional(),
});

export const rolloutRow = z.object({
  alias: z.string(),
  model: z.string(),
  version: count,
  dtype,
  /** `name@version` that a rollback goes to. */
  previous: z.string().nullable(),
  canary: z
    .object({
      model: z.string(),
      version: count,
      dtype,
      share: z.number(),
      apps: z.array(z.string()),
      since: z.number(),
      rule,
    })
    .nullable(),
  /** The alias's own version, then the canary, while there is one. */
  arms: z.array(arm),
  /** The last thing that was done to it, and why. */
  last: z.object({ what: z.string(), why: z.string(), at: z.number() }).nullable(),
});

export const rollout = table({
  promote: {
    kind: "call",
    what: "point an alias at a version once it passed a gate; EPERM says what it failed",
    right: "person",
    idempotent: true,
    ttl: 600_000,
    input: z.object({ model: ref, alias, dtype: dtype.optional(), gate: z.array(gateCheck).max(32).default([]) }),
    output: z.object({ rollout: rolloutRow, checks: z.array(checked) }),
  },
  canary: {
    kind: "call",
    what: "let some requests for an alias run on another version, and compare",
    right: "person",
    idempotent: true,
    ttl: 120_000,
    input: z.object({
      model: ref,
      alias,
      dtype: dtype.optional(),
      /** Of all requests, 0..1, chosen by the request's key. */
      share: z.number().min(0).max(1).default(0.1),
      /** All requests of these apps. */
      apps: z.array(z.string().max(64)).max(64).default([]),
      rule: rule.prefault({}),
    }),
    output: rolloutRow,
  },
  rollback: {
    kind: "call",
    what: "take a canary away, or without one point an alias at what it pointed at before",
    right: "person",
    idempotent: false,
    ttl: 120_000,
    input: z.object({ alias }),
    output: rolloutRow,
  },
  rollouts: {
    kind: "call",
    what: "list aliases: where they point, their canaries and how both do",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: none,
    output: z.object({ rollouts: z.array(rolloutRow) }),
  },
});
