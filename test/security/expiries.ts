// Owns measuring how late an expired credential is cut off, for the test and the benchmark.
import { NatsBus } from "../../kernel/ipc/bus.ts";
import type { Where } from "./revocations.ts";

/** Connects `count` clients whose grants end in 2 s: ms from each one's end to that of its connection. Clocks are of one host. */
export async function expiries({ url, person, makeKey }: Where, count: number): Promise<number[]> {
  const late: Promise<number>[] = [];
  for (let i = 0; i < count; i++) {
    const key = makeKey();
    const wish = { holder: `brief-${i}`, publicKey: key.publicKey, calls: ["auth.whoami"], expiresMs: 2_000 };
    const { jwt, grant } = await person.call("auth.grant", wish);
    const bus = await NatsBus.connect({ url, name: wish.holder, jwt: () => jwt, seed: key.seed });
    const lost = new Promise<number>((resolve) =>
      bus.on(({ type }) => (type === "lost" || type === "closed") && resolve(Date.now() - grant.expiresAt!)),
    );
    late.push(lost.finally(() => bus.close()));
  }
  return Promise.all(late);
}
