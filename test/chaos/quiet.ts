// Owns a client process of its own beside a flood: one app that asks as often as each of the flood's, and has nothing else to do.
// So what it sees of being turned away is the system's, and not the delay of whoever makes the flood. Forked by overload.ts.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import type { Credential } from "./rig.ts";
import { Tally } from "./tally.ts";

export interface Order {
  rate: number;
  ms: number;
}
export interface Seen {
  /** ms until each EBUSY. */
  rejected: number[];
  asked: number;
  /** ms by which its own event loop was late, p99. */
  lagMs: number;
}

process.once("message", async ({ url, name, jwt, seed }: Credential) => {
  const bus = await NatsBus.connect({ url, name, jwt: () => jwt, seed });
  const client = new Client(bus);
  process.on("message", async ({ rate, ms }: Order) => {
    const lag = monitorEventLoopDelay({ resolution: 5 });
    lag.enable();
    const tally = new Tally();
    await tally.flood([client], rate, ms);
    const seen: Seen = { rejected: tally.rejected, asked: tally.asked, lagMs: lag.percentile(99) / 1e6 };
    process.send!(seen);
  });
  process.once("disconnect", () => process.exit(0));
  process.send!("ready");
});
