// Owns API keys: what HTTP clients hold instead of a creds file. A key is the secret half of an nkey; the JWT is auth's to give.
import { SomaError } from "../../kernel/abi/errors.ts";
import { createKey, type KeyPair, keyFromSeed } from "../../kernel/ipc/nkey.ts";
import type { Grant, Wish } from "./grants.ts";
import { connectSoma, type Soma } from "./soma.ts";

const PREFIX = "sk-soma-";

/** Grants rights to a holder; returns its key, which is nowhere else and cannot be shown again. */
export async function grantKey(soma: Soma, wish: Wish): Promise<{ key: string; grant: Grant }> {
  const { publicKey, seed } = createKey("user");
  const { grant } = await soma.auth.grant({ ...wish, publicKey });
  return { key: PREFIX + seed, grant };
}

/** EINVAL when `key` is none: its checksum finds a wrong letter. */
export function readKey(key: string): KeyPair {
  const wrong = (cause?: unknown) =>
    new SomaError("EINVAL", 'that is no API key: make one with "soma key create NAME"', { cause });
  if (!key.startsWith(PREFIX)) throw wrong();
  let pair: KeyPair;
  try {
    pair = keyFromSeed(key.slice(PREFIX.length));
  } catch (cause) {
    throw wrong(cause);
  }
  if (pair.kind !== "user") throw wrong();
  return pair;
}

/** Connects under the key's own identity. `soma` may ask auth for JWTs. ENOENT when the key is revoked or expired. */
export async function connectKey(soma: Soma, { publicKey, seed }: KeyPair): Promise<Soma> {
  const { holder, jwt } = await soma.auth.credential({ publicKey });
  return connectSoma({ url: soma.url, name: holder, jwt, seed });
}
