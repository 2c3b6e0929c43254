// Owns the header names of requests and replies.

export const HEADERS = {
  /** This attempt, unique for its caller. */
  id: "id",
  /** Stable over retries of one request. */
  key: "key",
  /** Remaining ms; shrunk at each hop. */
  ttl: "ttl",
  abi: "abi",
  /** W3C trace context: 00-<32 hex>-<16 hex>-<2 hex>. */
  traceparent: "traceparent",
  /** JSON {principal, grant?, revision?}: for whom a service works. Honoured from services and the kernel only. */
  for: "for",
  /** Of a reply: one of REPLIES. */
  type: "type",
  /** Of a chunk: its number from 0. Of an end: how many there were. */
  seq: "seq",
  epoch: "epoch",
} as const;

/** A stream is `accepted`, chunks, then exactly one `end` or `error`. A call answered at once is just `end` or `error`. */
export const REPLIES = ["accepted", "chunk", "end", "error"] as const;
export type ReplyType = (typeof REPLIES)[number];

/** For whom a service works. */
export interface Principal {
  principal: string;
  grant?: string;
  revision?: number;
}
