// Owns what auth signs: grants, and user JWTs of the role "app".

import { SomaError } from "../../kernel/abi/errors.ts";
import { appTags } from "../../kernel/abi/rights.ts";
import type { SignedGrant } from "../../kernel/ipc/grants.ts";
import { mint } from "../../kernel/ipc/jwt.ts";
import { keyFromSeed, publicKeyKind } from "../../kernel/ipc/nkey.ts";
import type { Grant } from "./derive.ts";

export interface Signer {
  /** The record for the bucket, which services verify. */
  sign(grant: Grant): SignedGrant;
  /** The JWT under which the holder connects; the broker lets it publish exactly the granted calls. */
  jwt(grant: Grant): string;
}

/** From the secrets that only auth gets at its registration. */
export function createSigner({ account, appSeed, grantSeed }: Record<string, string>): Signer {
  if (!account || !appSeed || !grantSeed) throw new Error("the kernel gave auth no signing keys");
  const app = keyFromSeed(appSeed);
  const records = keyFromSeed(grantSeed);
  return {
    sign(grant) {
      const body = JSON.stringify(grant);
      return { body, signature: records.sign(Buffer.from(body)).toString("base64url") };
    },
    jwt({ holder, publicKey, calls, issuedAt, expiresAt }) {
      const seconds = (ms: number) => Math.floor(ms / 1000);
      const exp = expiresAt === null ? {} : { exp: seconds(expiresAt) };
      // The role's template holds the permissions: a user with its own would be refused.
      const nats = { issuer_account: account, tags: appTags(calls) };
      return mint("user", { name: holder, sub: publicKey, iat: seconds(issuedAt), ...exp, nats }, app);
    },
  };
}

/** EINVAL unless the key is a user's. */
export function checkUserKey(publicKey: string): string {
  try {
    if (publicKeyKind(publicKey) === "user") return publicKey;
  } catch (cause) {
    throw new SomaError("EINVAL", "publicKey must be a user's nkey, U...", { cause });
  }
  throw new SomaError("EINVAL", "publicKey must be a user's nkey, U...");
}
