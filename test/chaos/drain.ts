// Owns an ordered end under load: who is told to stop finishes what runs, and callers notice nothing.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import { type Figures, load } from "./figures.ts";
import { FORGIVEN_MS, type Rig } from "./rig.ts";

const EXIT_MS = 5_000;

export async function drain(rig: Rig, figures: Figures, rounds: number): Promise<void> {
  const failed: string[] = [];
  const exits: number[] = [];
  let calls = 0;
  for (let round = 0; round < rounds; round++) {
    const { epoch, pid } = await rig.row("memory-1");
    let going = true;
    // As apps call: with the repeats that the client makes by itself of what was surely not executed or is idempotent.
    const callers = rig.apps.map(async ({ client }) => {
      for (; going; calls++) {
        await client.call("memory.get", { key: "counter" }, { ttl: 10_000 }).catch((error) => {
          if (!(error instanceof SomaError)) throw error;
          failed.push(error.code);
        });
        await sleep(20);
      }
    });
    const asked = performance.now();
    process.kill(pid!, "SIGTERM");
    const { at } = await rig.answering("memory", epoch!);
    const down = rig.downs.find((event) => event.instance === "memory-1" && event.epoch === epoch);
    exits.push((down?.at ?? at) - asked);
    going = false;
    await Promise.all(callers);
    await sleep(FORGIVEN_MS);
  }
  figures.times("SIGTERM memory", "gone", exits, EXIT_MS);
  figures.add(
    "SIGTERM memory",
    "calls that failed",
    failed.length,
    "",
    { most: 0 },
    `of ${calls}, load average ${load()}`,
  );
}
