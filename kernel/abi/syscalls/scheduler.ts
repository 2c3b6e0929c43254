// Owns the scheduler's calls: who runs when.
import { z } from "zod";
import { table } from "../syscall.ts";
import { count, name, none } from "./common.ts";
import { constraint, mode, pooling, sampling, topIds } from "./device.ts";

export const POLICIES = ["fifo", "rr", "priority", "edf", "fair"] as const;
/** `cpu0`, `device-1`; a part of one: `a`, `cpu0/a`. */
export const deviceRef = z
  .string()
  .regex(/^[a-z0-9-]{1,32}(\/[a-z0-9-]{1,32})?$/, "use a device such as cpu0, or a part of one such as a or cpu0/a");
const fraction = z.number().positive().max(1);

export const usage = z.object({
  promptTokens: count,
  newTokens: count,
  computedTokens: count,
  cachedTokens: count.default(0),
  queueMs: z.number(),
  runMs: z.number(),
});

export const scheduler = table({
  run: {
    kind: "stream",
    what: "compute one sequence; its ids come straight from the device as chunks",
    right: "service",
    idempotent: false,
    ttl: 0,
    input: z.object({
      model: z.string(),
      ids: z.array(count).min(1),
      mode: mode.default("generate"),
      sample: sampling.prefault({}),
      maxNew: count.default(0),
      stopIds: z.array(count).default([]),
      allowed: z.array(count).optional(),
      constraint: constraint.optional(),
      logprobs: count.optional(),
      pooling: pooling.optional(),
      /** `score`: the first id whose log-probability is asked for; those before it are 0. */
      from: count.default(1),
      priority: z.number().int().default(0),
      /** A device or a part of one, where alone it may run. */
      device: deviceRef.optional(),
    }),
    /** `pos` counts new tokens from 0: receivers drop positions that they have. */
    chunk: z.object({
      pos: count,
      ids: z.array(count),
      logprobs: z.array(z.number()).optional(),
      top: z.array(topIds).optional(),
    }),
    output: z.object({
      finish: z.enum(["stop", "length", "blocks"]),
      newTokens: count,
      logprobs: z.array(z.number()).optional(),
      vector: z.array(z.number()).optional(),
      usage,
      numerics: z.string(),
      device: z.string(),
    }),
  },
  place: {
    kind: "call",
    what: "say that a device has a model resident",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    input: z.object({
      device: z.string(),
      epoch: count,
      model: z.string(),
      blocks: count,
      blockBytes: count,
      context: count,
      numerics: z.string(),
    }),
    output: none,
  },
  queue: {
    kind: "call",
    what: "show what runs and what waits, and why",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      policy: z.string(),
      sequences: z.array(
        z.object({
          id: z.string(),
          principal: z.string(),
          model: z.string(),
          state: z.string(),
          device: z.string().optional(),
          ids: count,
          newTokens: count,
          maxNew: count,
          /** KV blocks that are set aside for it on its device; 0 where it has none. */
          blocks: count,
          waitedMs: z.number(),
          why: z.string(),
        }),
      ),
    }),
  },
  drain: {
    kind: "call",
    what: "hand a device's sequences over to others, until it starts anew",
    right: "person",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ device: z.string() }),
    output: none,
  },
  split: {
    kind: "call",
    what: "cut a device into parts with shares of its time and its KV blocks, or cut it anew while they run",
    right: "person",
    recorded: true,
    idempotent: true,
    ttl: 3_000,
    input: z.object({
      device: deviceRef,
      /** `memory`: as much as `share` unless said. */
      parts: z
        .array(z.object({ name, share: fraction, memory: fraction.optional() }))
        .min(1)
        .max(16),
    }),
    output: z.object({ device: z.string() }),
  },
  merge: {
    kind: "call",
    what: "make a device that was cut one again",
    right: "person",
    recorded: true,
    idempotent: true,
    ttl: 3_000,
    input: z.object({ device: deviceRef }),
    output: z.object({ device: z.string() }),
  },
  parts: {
    kind: "call",
    what: "list devices and their parts with what each is due and got",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      parts: z.array(
        z.object({
          device: z.string(),
          /** Empty where the device is not cut. */
          part: z.string(),
          share: z.number(),
          memory: z.number(),
          /** Of all its models. */
          blocks: count,
          leased: count,
          sequences: count,
          /** ms of the device since the part is there, and of all CPUs meanwhile. */
          usedMs: z.number(),
          cpuMs: z.number(),
        }),
      ),
    }),
  },
  set: {
    kind: "call",
    what: "choose the policy",
    right: "person",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ policy: z.enum(POLICIES) }),
    output: z.object({ policy: z.string() }),
  },
  why: {
    kind: "call",
    what: "say in a sentence why a request waits",
    right: "person",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ id: z.string() }),
    output: z.object({ why: z.string() }),
  },
  pause: {
    kind: "call",
    what: "stop a sequence at its next token; its deadline goes on",
    right: "person",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ id: z.string() }),
    output: z.object({ id: z.string(), newTokens: count }),
  },
  resume: {
    kind: "call",
    what: "let a paused sequence go on, with the same tokens",
    right: "person",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ id: z.string() }),
    output: z.object({ id: z.string(), newTokens: count }),
  },
  policy: {
    kind: "call",
    what: "show the policy and each principal's share",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      policy: z.string(),
      shares: z.array(
        z.object({
          principal: z.string(),
          weight: z.number(),
          tokens: count,
          virtualTime: z.number(),
          /** How often it gave its room up to another app. */
          preempted: count,
        }),
      ),
    }),
  },
});
