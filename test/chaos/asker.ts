// Owns a client process of its own, forked by overload.ts: some apps that ask as ordered. Whoever makes a flood is not whoever measures
// how it is for others, and the delay of this process' own event loop is told with what it saw.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { flood } from "./flood.ts";
import type { Credential } from "./rig.ts";
import { Tally } from "./tally.ts";

export interface Order {
  ms: number;
  /** What is done in the first ms of it is not counted. */
  warm: number;
  /** Requests that each app has under way, each followed by the next at once. */
  lanes: number;
  /** Beside them, requests a second of all apps, whatever comes of them. */
  rate: number;
  /** Those go to an instance that is not there: they cost whoever makes and carries them the same, and the services nothing. */
  dry: boolean;
}
export interface Seen {
  /** Of requests that were done after `warm` and within `ms`. */
  tokens: number;
  /** Those of each app, but for what was asked beside the lanes. */
  each: number[];
  seconds: number;
  asked: number;
  codes: [string, number][];
  /** ms until each EBUSY. */
  rejected: number[];
  late: number;
  /** ms by which its own event loop was late, p50 and p99. */
  lag: [number, number];
}

const NOBODY = "model-9";

process.once("message", async (credentials: Credential[]) => {
  const clients = await Promise.all(
    credentials.map(
      async ({ url, name, jwt, seed }) => new Client(await NatsBus.connect({ url, name, jwt: () => jwt, seed })),
    ),
  );
  process.on("message", async (order: Order) => process.send!(await follow(clients, order)));
  process.once("disconnect", () => process.exit(0));
  process.send!("ready");
});

async function follow(clients: readonly Client[], { ms, warm, lanes, rate, dry }: Order): Promise<Seen> {
  const lag = monitorEventLoopDelay({ resolution: 1 });
  lag.enable();
  const began = performance.now();
  const tally = new Tally(began + warm, began + ms);
  const each = clients.map(() => 0);
  const lane = async (client: Client, number: number) => {
    for (let n = 0; performance.now() < began + ms; n++) {
      const { wait, tokens } = await tally.ask(client, number * 1_000 + n);
      each[clients.indexOf(client)]! += tokens;
      await sleep(wait);
    }
  };
  const closed = clients.flatMap((client, app) =>
    Array.from({ length: lanes }, (_, n) => lane(client, app * lanes + n)),
  );
  const beside = dry ? new Tally(Number.POSITIVE_INFINITY, 0) : tally;
  const buses = clients.map(({ bus }) => bus);
  await flood(buses, beside, { rate, ms, ...(dry ? { instance: NOBODY } : {}) });
  const lags: [number, number] = [lag.percentile(50) / 1e6, lag.percentile(99) / 1e6];
  await Promise.all(closed);
  const { tokens, asked, codes, rejected, late } = tally;
  return { tokens, each, seconds: (ms - warm) / 1_000, asked, codes: [...codes], rejected, late, lag: lags };
}
