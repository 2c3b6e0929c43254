// Owns the model service's calls about data sets: what models learn from.
import { z } from "zod";
import { table } from "../syscall.ts";
import { bytes, count, none, record } from "./common.ts";

const dataName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'use 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"');
/** A name, or `data:NAME@HASH` for this content of it alone. */
export const dataRef = z
  .string()
  .regex(/^(data:)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9a-f]{12,64})?$/, "use a name or data:NAME@HASH");

export const dataRow = z.object({
  name: z.string(),
  /** `data:NAME@HASH`, for `train`. */
  ref: z.string(),
  /** SHA-256 over all that it holds, in order. */
  hash: z.string(),
  owner: z.string(),
  rows: count,
  bytes: count,
  shards: count,
  createdAt: z.number(),
  /** How it was made: what was read, kept and dropped for which reason; splits, lengths, languages, tokens. */
  card: record,
});

export const data = table({
  addData: {
    kind: "stream",
    what: "make a data set of uploaded JSONL lines: cleaned, without duplicates and what is held out elsewhere",
    right: "app",
    idempotent: true,
    ttl: 0,
    input: z.object({
      name: dataName,
      /** Where it comes from, for its card. */
      from: z.string().max(256).default("an upload"),
      /** Characters of a row. */
      minChars: count.default(1),
      maxChars: count.default(100_000),
      /** ISO 639-3 codes; rows in other languages are dropped. */
      languages: z.array(z.string().length(3)).max(64).default([]),
      /** Rows this similar to an earlier one are dropped, 0..1; 0 drops equal ones alone. */
      near: z.number().min(0).max(1).default(0.8),
      /** Data sets whose test split must not be in it; "builtin" is the corpus that ships. */
      against: z.array(dataRef).max(16).default([]),
      /** Whose tokenizer counts tokens for the card. */
      model: z.string().optional(),
    }),
    chunk: z.object({ read: count, kept: count }),
    output: dataRow,
  },
  data: {
    kind: "call",
    what: "list data sets",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: none,
    output: z.object({ sets: z.array(dataRow) }),
  },
  showData: {
    kind: "call",
    what: "show a data set's card",
    right: "app",
    idempotent: true,
    ttl: 5_000,
    input: z.object({ data: dataRef }),
    output: dataRow,
  },
  readData: {
    kind: "stream",
    what: "read a data set as JSONL",
    right: "app",
    idempotent: true,
    ttl: 0,
    input: z.object({
      data: dataRef,
      split: z.enum(["train", "validation", "test"]).optional(),
      limit: count.optional(),
    }),
    chunk: z.object({ data: bytes }),
    output: z.object({ rows: count }),
  },
  removeData: {
    kind: "call",
    what: "delete a data set",
    right: "app",
    idempotent: true,
    ttl: 10_000,
    input: z.object({ data: dataRef }),
    output: none,
  },
});
