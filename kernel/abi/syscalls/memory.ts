// Owns memory's calls: budgets of devices, what apps remember, blobs, rows to be searched.
import { z } from "zod";
import { table } from "../syscall.ts";
import { blob, bytes, count, json, name, none, record } from "./common.ts";

const namespace = z
  .string()
  .regex(/^[a-z0-9-]{1,32}$/)
  .optional();
const key = z
  .string()
  .regex(/^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$/, "use letters, digits, _ - = and single dots")
  .max(128);
const collection = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, "use letters, digits, _ and -, 64 of them at most")
  .default("default");
const rowId = z.string().min(1).max(512);
/** Numbers, or float32 in little-endian order, which takes a sixth of the room. */
const vector = z.union([z.array(z.number()).min(1).max(8192), bytes]);
/** At least one of text (found by words) and vector (found by meaning). */
const row = z
  .object({
    id: rowId,
    text: z.string().min(1).max(32_768).optional(),
    vector: vector.optional(),
    meta: record.optional(),
  })
  .refine(({ text, vector }) => text !== undefined || vector !== undefined, "give a text, a vector or both");

export const memory = table({
  reserve: {
    kind: "call",
    what: "set bytes of a device aside for weights or KV blocks; EAGAIN when short",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    input: z.object({
      device: z.string(),
      /** `<model>/weights` or `<model>/kv` of what the device lists as resident; its list is the truth. */
      holder: z.string().max(128),
      kind: z.enum(["weights", "kv"]),
      bytes: count,
      principal: z.string().optional(),
    }),
    output: z.object({ freeBytes: count }),
  },
  release: {
    kind: "call",
    what: "give reserved bytes back",
    right: "service",
    idempotent: true,
    ttl: 2_000,
    input: z.object({ device: z.string(), holder: z.string().max(128) }),
    output: z.object({ freeBytes: count }),
  },
  free: {
    kind: "call",
    what: "show each device's memory: total, weights, KV, free, by holder",
    right: "viewer",
    idempotent: true,
    ttl: 3_000,
    input: none,
    output: z.object({
      devices: z.array(
        z.object({
          device: z.string(),
          totalBytes: count,
          weightBytes: count,
          kvBytes: count,
          freeBytes: count,
          holders: z.array(
            z.object({ holder: z.string(), kind: z.string(), bytes: count, principal: z.string().optional() }),
          ),
        }),
      ),
    }),
  },
  get: {
    kind: "call",
    what: "read a remembered value",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ key, namespace }),
    output: z.object({ value: json, revision: count }),
  },
  put: {
    kind: "call",
    what: "remember a value; with `revision` only if unchanged since",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ key, value: json, namespace, revision: count.optional() }),
    output: z.object({ revision: count }),
  },
  del: {
    kind: "call",
    what: "forget a value",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ key, namespace }),
    output: none,
  },
  keys: {
    kind: "call",
    what: "list remembered keys",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ prefix: z.string().max(128).default(""), namespace }),
    output: z.object({ keys: z.array(z.string()) }),
  },
  index: {
    kind: "call",
    what: "put rows into a collection to be searched; one of the same id is replaced",
    right: "app",
    idempotent: true,
    ttl: 60_000,
    input: z.object({ collection, rows: z.array(row).min(1).max(1024), namespace }),
    /** Of the whole collection. */
    output: z.object({ rows: count, bytes: count }),
  },
  unindex: {
    kind: "call",
    what: "forget rows of a collection, or without ids all of it",
    right: "app",
    idempotent: true,
    ttl: 60_000,
    input: z.object({ collection, ids: z.array(rowId).min(1).max(1024).optional(), namespace }),
    output: z.object({ deleted: count }),
  },
  search: {
    kind: "call",
    what: "find rows by meaning (a vector: cosine), by words (a text: BM25), or by both",
    right: "app",
    idempotent: true,
    ttl: 30_000,
    input: z
      .object({
        collection,
        text: z.string().min(1).max(4096).optional(),
        vector: vector.optional(),
        /** Only rows whose meta has these values. */
        where: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
        limit: z.number().int().min(1).max(100).default(5),
        namespace,
      })
      .refine(({ text, vector }) => text !== undefined || vector !== undefined, "give a text, a vector or both"),
    output: z.object({
      /** Best first. `score` is the cosine, BM25's, or with both the sum of 1 / (60 + rank) over the two. */
      hits: z.array(
        z.object({
          id: z.string(),
          score: z.number(),
          cosine: z.number().optional(),
          bm25: z.number().optional(),
          text: z.string().optional(),
          meta: record.optional(),
        }),
      ),
    }),
  },
  collections: {
    kind: "call",
    what: "list collections with their sizes",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ namespace }),
    output: z.object({
      /** `dims`: floats of each vector, 0 when none has one. */
      collections: z.array(z.object({ collection: z.string(), rows: count, dims: count, bytes: count })),
    }),
  },
  namespaces: {
    kind: "call",
    what: "list who remembers what, with sizes",
    right: "person",
    idempotent: true,
    ttl: 5_000,
    input: none,
    output: z.object({
      namespaces: z.array(z.object({ namespace: z.string(), keys: count, rows: count, bytes: count })),
    }),
  },
  wipe: {
    kind: "call",
    what: "delete a namespace with its blobs and collections",
    right: "service",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ namespace: z.string() }),
    output: z.object({ deleted: count }),
  },
  write: {
    kind: "stream",
    what: "store a large value by content",
    right: "app",
    idempotent: true,
    ttl: 600_000,
    input: z.object({ size: count.optional() }),
    chunk: none,
    upload: bytes,
    output: z.object({ blob, size: count }),
  },
  read: {
    kind: "stream",
    what: "read a stored value",
    right: "app",
    idempotent: true,
    ttl: 600_000,
    input: z.object({ blob }),
    chunk: z.object({ data: bytes }),
    output: z.object({ size: count }),
  },
  share: {
    kind: "call",
    what: "let another caller read a blob of one's own",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ blob, reader: name }),
    output: none,
  },
  drop: {
    kind: "call",
    what: "give up one's hold on a blob",
    right: "app",
    idempotent: true,
    ttl: 3_000,
    input: z.object({ blob }),
    output: none,
  },
});
