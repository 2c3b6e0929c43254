// Owns a process that writes under a lent identity until its connection is closed for good: as a service does that sleeps
// through its own end. Forked by late.ts.
import { encode } from "../../kernel/abi/codec.ts";
import { SomaError } from "../../kernel/abi/errors.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Kv } from "../../kernel/ipc/store.ts";

export interface Told {
  /** Writes that were tried after the last one that was taken. */
  tried: number;
  /** The code with which a new connection under the same identity ended; "none" if it opened. */
  again: string;
}

process.once("message", async ({ url, instance, jwt, seed }: Record<"url" | "instance" | "jwt" | "seed", string>) => {
  const connect = () => NatsBus.connect({ url, name: instance, jwt: () => jwt, seed });
  const bus = await connect();
  const store = await Kv.open<number>(bus, "data");
  let [number, taken] = [0, 0];
  const writing = setInterval(() => {
    const mine = ++number;
    store.put("late", mine).then(
      () => {
        taken = Math.max(taken, mine);
      },
      // Refused, or nobody there to take it: that is what the test is about.
      (error) => {
        if (!(error instanceof SomaError)) throw error;
      },
    );
    if (bus.connected) bus.publish(subjects.event(instance, "late"), encode(mine));
  }, 10);
  bus.on(async ({ type }) => {
    if (type !== "closed") return;
    clearInterval(writing);
    const again = await connect().then(
      () => "none",
      (error: SomaError) => error.code,
    );
    process.send!({ tried: number - taken, again } satisfies Told, () => process.exit(0));
  });
});
