// Owns the signed heads of the audit's chains: their form, what auth signs, and what a reader takes for signed.
import { z } from "zod";
import { verifySignature } from "./nkey.ts";

/** Set apart from what else the same key signs. */
const KIND = "soma audit head 1";

const headSchema = z.object({
  kind: z.literal(KIND),
  /** Subject of the chain. */
  chain: z.string(),
  seq: z.number().int().positive(),
  /** base64url. */
  hash: z.string(),
  /** Unix ms of the first and of the last record. */
  began: z.number(),
  at: z.number(),
  /** Of the message in the stream that holds record `seq`. */
  stream: z.number(),
});
export type SignedHead = Omit<z.output<typeof headSchema>, "kind">;
/** As kept in the bucket `heads`, under the chain's subject: the exact bytes that were signed. */
export const signedHead = z.object({ body: z.string(), signature: z.string() });
export type HeadRecord = z.output<typeof signedHead>;

export function signHead(head: SignedHead, sign: (bytes: Uint8Array) => Buffer): HeadRecord {
  const body = JSON.stringify({ kind: KIND, ...head });
  return { body, signature: sign(Buffer.from(body)).toString("base64url") };
}

/** The head in a record that `key` signed for this chain; undefined when signature, shape or chain is wrong. */
export function readHead(key: string, chain: string, record: unknown): SignedHead | undefined {
  const signed = signedHead.safeParse(record);
  if (!signed.success) return undefined;
  const { body, signature } = signed.data;
  if (!verifySignature(key, Buffer.from(body), Buffer.from(signature, "base64url"))) return undefined;
  const parsed = headSchema.safeParse(JSON.parse(body));
  return parsed.success && parsed.data.chain === chain ? parsed.data : undefined;
}
