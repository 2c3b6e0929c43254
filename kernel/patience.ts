// Owns patience with the store: what the kernel must record waits while the broker is away, or its disk full.
import { setTimeout as sleep } from "node:timers/promises";
import { isSomaError } from "./abi/errors.ts";
import { connected } from "./connect.ts";
import type { NatsBus } from "./ipc/bus.ts";
import type { Log } from "./ipc/log.ts";

/** Between attempts, ms: a full disk refuses at once. */
const PAUSE = 100;

/** Does it again until nothing but EIO is in the way; throws what else is. Said once, however long it takes. */
export async function patiently<T>({ bus, log }: { bus: NatsBus; log: Log }, work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    await connected(bus);
    try {
      return await work();
    } catch (error) {
      if (!isSomaError(error, "EIO")) throw error;
      if (attempt === 0) log.warn({ err: error }, "trying again until it is stored");
      await sleep(PAUSE);
    }
  }
}
