// Owns what auth signs: grants for the services, user JWTs for the broker. Both name the holder.
import { SomaError } from "../../kernel/abi/errors.ts";
import { checkAppName } from "../../kernel/abi/names.ts";
import { appTags } from "../../kernel/abi/rights.ts";
import type { Grant, SignedGrant } from "../../kernel/ipc/grants.ts";
import { mint } from "../../kernel/ipc/jwt.ts";
import { keyFromSeed, publicKeyKind } from "../../kernel/ipc/nkey.ts";

/** What the kernel hands to auth alone. */
export interface Secrets {
  /** The broker account that apps live in. */
  account: string;
  /** Of the signing key scoped to the role of apps: the broker gives its users no more than APP_ROLE. */
  appSeed: string;
  /** Signs grants. */
  grantSeed: string;
}

/** Throws when the kernel gave less than all: auth cannot work then. */
export function secretsOf({ account, appSeed, grantSeed }: Record<string, string>): Secrets {
  if (!account || !appSeed || !grantSeed) throw new Error("the kernel gave auth no signing keys");
  return { account, appSeed, grantSeed };
}

export type Minter = ReturnType<typeof minter>;

export function minter({ account, appSeed, grantSeed }: Secrets) {
  const role = keyFromSeed(appSeed);
  const signer = keyFromSeed(grantSeed);
  return {
    /** Verifies what `sign` signed. */
    publicKey: signer.publicKey,
    sign(grant: Grant): SignedGrant {
      const body = JSON.stringify(grant);
      return { body, signature: signer.sign(Buffer.from(body)).toString("base64url") };
    },
    /** The holder's credential: its name and its calls fill in the role's template. */
    jwt({ holder, publicKey, calls, issuedAt, expiresAt }: Grant): string {
      const exp = expiresAt === null ? {} : { exp: Math.floor(expiresAt / 1_000) };
      const claims = {
        name: checkAppName(holder),
        sub: publicKey,
        iat: Math.floor(issuedAt / 1_000),
        ...exp,
        nats: { issuer_account: account, tags: appTags(calls) },
      };
      return mint("user", claims, role);
    },
  };
}

/** EINVAL unless it is a user's public nkey. */
export function checkPublicKey(publicKey: string): void {
  let kind: string;
  try {
    kind = publicKeyKind(publicKey);
  } catch (cause) {
    throw new SomaError("EINVAL", `"${publicKey}" is no public key: make a user nkey and send its U... half`, {
      cause,
    });
  }
  if (kind !== "user")
    throw new SomaError("EINVAL", `that is the key of an ${kind}: make a user nkey and send its U... half`);
}
