// Owns the broker's JWTs: mint, read, creds files and the answer to a connection's challenge.
import { createHash } from "node:crypto";
import { base32, type KeyPair, keyFromSeed, verifySignature } from "./nkey.ts";

export type JwtType = "operator" | "account" | "user";

export interface Claims {
  name: string;
  /** Whose JWT this is: a public key. */
  sub: string;
  /** Unix seconds from which on it holds good no more; absent: for ever. */
  exp?: number;
  /** Unix seconds. A revocation at or after it makes the JWT void. */
  iat: number;
  /** What the broker reads: limits, permissions, signing keys. */
  nats: Record<string, unknown>;
}

export interface Jwt extends Claims {
  /** The signer's public key. */
  iss: string;
  jti: string;
  nats: Record<string, unknown> & { type: JwtType; version: 2 };
}

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const HEADER = base64({ typ: "JWT", alg: "ed25519-nkey" });

/** Signs claims. Needs no contact with the broker; takes well under a millisecond. */
export function mint(type: JwtType, claims: Claims, signer: KeyPair): string {
  const body = { ...claims, iss: signer.publicKey, nats: { ...claims.nats, type, version: 2 } };
  const jti = base32(createHash("sha256").update(JSON.stringify(body)).digest());
  const signed = `${HEADER}.${base64({ ...body, jti })}`;
  return `${signed}.${signer.sign(Buffer.from(signed)).toString("base64url")}`;
}

/** The claims of a JWT whose signature fits its issuer. Whether that issuer is trusted is for the caller to judge. */
export function decode(jwt: string): Jwt {
  const [header, body, signature, ...rest] = jwt.trim().split(".");
  if (header !== HEADER || !body || !signature || rest.length > 0) throw new Error("not a JWT of the broker");
  const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as Jwt;
  if (!verifySignature(claims.iss, Buffer.from(`${header}.${body}`), Buffer.from(signature, "base64url"))) {
    throw new Error(`the signature of ${claims.name}'s JWT is wrong`);
  }
  return claims;
}

/** Who connects: a user's JWT and the key that proves it. */
export interface Credential {
  name: string;
  jwt: string;
  key: KeyPair;
}

const block = (label: string, text: string) => `-----BEGIN ${label}-----\n${text}\n------END ${label}------\n`;

/** The text of a creds file, as the nats tools read it. Secret: mode 0600. */
export function formatCreds({ jwt, key }: Credential): string {
  return `${block("NATS USER JWT", jwt)}\n${block("USER NKEY SEED", key.seed)}`;
}

/** Reads a creds file; throws when a block is missing or the JWT is not for that key. */
export function parseCreds(text: string): Credential {
  const [jwt, seed] = Array.from(text.matchAll(/-{3,}BEGIN [^-]*-{3,}\s+(\S+)\s+-{3,}END/g), (match) => match[1]);
  if (!jwt || !seed) throw new Error("not a creds file: it needs a user JWT and a seed");
  const key = keyFromSeed(seed);
  const claims = decode(jwt);
  if (claims.sub !== key.publicKey) throw new Error(`the seed is not the one of ${claims.name}'s JWT`);
  return { name: claims.name, jwt, key };
}

/**
 * The `authenticator` of the nats client. `jwt` may be a function: it is asked at each connect, so that a renewed JWT
 * is used at the next one (rights cannot change on a live connection).
 */
export function authenticator(jwt: string | (() => string), key: KeyPair) {
  return (nonce?: string) => ({
    jwt: typeof jwt === "string" ? jwt : jwt(),
    nkey: key.publicKey,
    sig: key.sign(Buffer.from(nonce ?? "")).toString("base64url"),
  });
}
