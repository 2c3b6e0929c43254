// Owns client processes as their parent sees them: started with the credentials of some apps, then told what to ask.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Order, Seen } from "./asker.ts";
import type { Rig } from "./rig.ts";

/** A process of its own that asks as these apps. */
export async function asker(rig: Rig, names: readonly string[]): Promise<ChildProcess> {
  const program = fileURLToPath(new URL("asker.ts", import.meta.url));
  const child = fork(program, { execArgv: ["--import", import.meta.resolve("tsx")] });
  child.send(await Promise.all(names.map((name) => rig.credential(name))));
  await message(child);
  return child;
}

export async function ordered(child: ChildProcess, order: Order): Promise<Seen> {
  child.send(order);
  return (await message(child)) as Seen;
}

async function message(child: ChildProcess): Promise<unknown> {
  const ended = once(child, "exit").then(([code]) =>
    Promise.reject(new Error(`a process that asks ended with ${code}`)),
  );
  const [said] = await Promise.race([once(child, "message"), ended]);
  return said;
}
