// Owns an ordered end under load: who is told to stop finishes what runs, and callers notice nothing.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import { SERVICES, type Service } from "../../kernel/abi/names.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { type Figures, load } from "./figures.ts";
import { FORGIVEN_MS, type Rig } from "./rig.ts";

const EXIT_MS = 5_000;
const options = { ttl: 10_000 };
/** As apps call: with the repeats that the client makes by itself of what was surely not executed or is idempotent. */
const CALLS: Record<Service, (app: Client, person: Client) => Promise<unknown>> = {
  auth: (app) => app.call("auth.whoami", {}, options),
  memory: (app) => app.call("memory.get", { key: "counter" }, options),
  device: (app) => app.call("device.list", {}, options),
  scheduler: (_app, person) => person.call("scheduler.queue", {}, options),
  model: (app) => app.call("model.tokenize", { model: "fox", text: "the quick" }, options),
};

export async function drain(rig: Rig, figures: Figures, rounds: number): Promise<void> {
  for (const service of SERVICES) {
    const failed: string[] = [];
    const exits: number[] = [];
    let calls = 0;
    for (let round = 0; round < rounds; round++) {
      const { epoch, pid } = await rig.row(`${service}-1`);
      let going = true;
      const callers = rig.apps.map(async ({ client }) => {
        for (; going; calls++) {
          await CALLS[service](client, rig.person).catch((error) => {
            if (!(error instanceof SomaError)) throw error;
            failed.push(`${error.code} ${error.message}`);
          });
          await sleep(20);
        }
      });
      // Some are under way when it is told.
      await sleep(200);
      const asked = performance.now();
      process.kill(pid!, "SIGTERM");
      const { at } = await rig.answering(service, epoch!);
      const down = rig.downs.find((event) => event.instance === `${service}-1` && event.epoch === epoch);
      exits.push((down?.at ?? at) - asked);
      going = false;
      await Promise.all(callers);
      await sleep(FORGIVEN_MS);
    }
    const part = `SIGTERM ${service}`;
    const note = [`of ${calls}, load average ${load()}`, ...failed.slice(0, 2)].join("; ");
    figures.times(part, "gone", exits, EXIT_MS);
    figures.add(part, "calls that failed", failed.length, "", { most: 0 }, note);
  }
}
