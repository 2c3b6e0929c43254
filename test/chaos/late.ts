// Owns a service that is stopped, replaced, and goes on: what it writes then is refused, for its key is void.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AUTH, LENDING, System, until } from "../helpers/system.ts";
import type { Figures } from "./figures.ts";
import type { Told } from "./writer.ts";

/**
 * The kernel kills what it declares dead, so a second process has the identity, too, and is out of the kernel's reach, as one
 * on a host that was cut off is.
 */
export async function late(figures: Figures): Promise<void> {
  const system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: LENDING },
  ]);
  const program = fileURLToPath(new URL("writer.ts", import.meta.url));
  const writer = fork(program, { execArgv: ["--import", import.meta.resolve("tsx")] });
  try {
    const client = await system.up(["auth-1", "memory-1"]);
    const stored = async () => Number((await client.call("memory.get", { key: "late" })).value);
    let heard = 0;
    client.bus.subscribe("evt.memory-1.late", () => void heard++);
    await client.bus.flush();
    const { pid, epoch } = await system.state(client, "memory-1", "ready");
    writer.send(JSON.parse(readFileSync(join(system.home, `lent-${epoch}.json`), "utf8")));
    await until("it writes", async () => heard > 10 && (await stored()) > 10, system);
    writer.kill("SIGSTOP");
    process.kill(pid!, "SIGSTOP");
    await system.state(client, "memory-1", "ready", (row) => row.epoch! > epoch!);
    const before = { heard, stored: await stored() };
    const answer = once(writer, "message", { signal: AbortSignal.timeout(30_000) }) as Promise<[Told]>;
    writer.kill("SIGCONT");
    const [{ tried, again }] = await answer;
    const part = "SIGCONT of what was replaced";
    const note = `of ${tried} tried`;
    figures.add(part, "writes tried", tried, "", { least: 1 });
    figures.add(part, "late writes that changed the store", (await stored()) - before.stored, "", { most: 0 }, note);
    figures.add(part, "late events that were heard", heard - before.heard, "", { most: 0 });
    figures.add(part, "its key is refused", again === "EPERM" ? 100 : 0, "%", { least: 100 }, again);
  } finally {
    writer.kill("SIGKILL");
    await system.stop();
  }
}
