// Owns getting a credential for another holder: the key is made here and never leaves, the JWT comes from auth.
import type { Input, Output } from "../../kernel/abi/syscalls.ts";
import { formatCreds } from "../../kernel/ipc/jwt.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import type { Soma } from "./soma.ts";

export type Wish = Omit<Input<"auth.grant">, "publicKey">;
export type Grant = Output<"auth.grant">["grant"];

/** Grants rights to a holder; returns a standard NATS creds file, which any NATS client in any language takes. */
export async function grantCreds(soma: Soma, wish: Wish): Promise<{ creds: string; grant: Grant }> {
  const key = createKey("user");
  const { jwt, grant } = await soma.auth.grant({ ...wish, publicKey: key.publicKey });
  return { creds: formatCreds({ name: wish.holder, jwt, key }), grant };
}
