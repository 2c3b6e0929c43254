// Owns the kernel's two connections: as itself, allowed everything in the account; and as a system user, who may replace the account.
import { ask } from "./ipc/ask.ts";
import { NatsBus } from "./ipc/bus.ts";
import { createKey } from "./ipc/nkey.ts";
import type { Authority } from "./keys/authority.ts";

export interface Connections {
  bus: NatsBus;
  /** Of the bus: void once a successor runs. */
  key: string;
  sys: NatsBus;
  /** Has the broker take the account as it stands: revocations are in force when it resolves. */
  push: () => Promise<void>;
}

/** Fresh keys at each start; their seeds never leave this process. */
export async function connectKernel(authority: Authority, url: string): Promise<Connections> {
  const key = createKey("user");
  const jwt = authority.mintActor({ name: "kernel", publicKey: key.publicKey, permissions: { pub: {}, sub: {} } });
  const system = authority.systemUser();
  const [bus, sys] = await Promise.all([
    NatsBus.connect({ url, name: "kernel", jwt: () => jwt, seed: key.seed }),
    NatsBus.connect({ url, name: system.name, jwt: () => system.jwt, seed: system.key.seed }),
  ]);
  const push = () => authority.push((subject, body) => ask(sys, subject, body));
  return { bus, key: key.publicKey, sys, push };
}

/** Resolves when the broker is there. */
export function connected(bus: NatsBus): Promise<void> {
  if (bus.connected) return Promise.resolve();
  return new Promise((resolve) => {
    const forget = bus.on(({ type }) => {
      if (type !== "back") return;
      forget();
      resolve();
    });
  });
}
