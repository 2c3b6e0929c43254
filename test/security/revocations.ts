// Owns measuring how soon a revoked client is cut off, for the test and the benchmark.
import { NatsBus } from "../../kernel/ipc/bus.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import type { KeyPair } from "../../kernel/ipc/nkey.ts";

export interface Where {
  url: string;
  person: Client;
  makeKey: () => KeyPair;
}

/** Connects `count` clients, then revokes one after the other: ms from the call to the end of each one's connection. */
export async function revocations({ url, person, makeKey }: Where, count: number): Promise<number[]> {
  const clients: { holder: string; bus: NatsBus; lost: Promise<number> }[] = [];
  for (let i = 0; i < count; i++) {
    const holder = `client-${i}`;
    const key = makeKey();
    const { jwt } = await person.call("auth.grant", { holder, publicKey: key.publicKey, calls: ["auth.whoami"] });
    const bus = await NatsBus.connect({ url, name: holder, jwt: () => jwt, seed: key.seed });
    const lost = new Promise<number>((resolve) =>
      bus.on(({ type }) => (type === "lost" || type === "closed") && resolve(performance.now())),
    );
    clients.push({ holder, bus, lost });
  }
  const ms: number[] = [];
  for (const { holder, bus, lost } of clients) {
    const began = performance.now();
    await person.call("auth.revoke", { holder });
    ms.push((await lost) - began);
    await bus.close();
  }
  return ms;
}
