// Owns the measurement of what parts of a device get: both kept busy, by the device's own clock and by CPU time of its process.
import type { Client } from "../../kernel/ipc/client.ts";

export interface Running {
  client: Client;
  person: Client;
}

export interface Got {
  /** Percent of `a`. */
  due: number;
  /** Of a, from 0 to 1: CPU time and time of the device. */
  cpu: number;
  time: number;
}

/** Cuts the device into a and b. */
export async function split({ person }: Running, percentOfA: number): Promise<void> {
  const a = percentOfA / 100;
  await person.call("scheduler.split", {
    device: "cpu0",
    parts: [
      { name: "a", share: a, memory: 0.5 },
      { name: "b", share: 1 - a, memory: 0.5 },
    ],
  });
}

async function used({ person }: Running) {
  const { parts } = await person.call("scheduler.parts", {});
  const [a, b] = ["a", "b"].map((name) => parts.find(({ part }) => part === name)!);
  return { a: a!, b: b! };
}

/** Shares of a over `ms` while sixteen requests of each part run at any time; then again after `live`, which cuts the device anew. */
export async function measureParts(system: Running, ms: number, live: () => Promise<void>): Promise<Got[]> {
  let on = true;
  let seed = 1;
  const loop = async (device: string) => {
    while (on) {
      const ids = Array.from({ length: 24 }, (_, i) => (7 * i + 13 * seed) % 80);
      seed += 1;
      await system.client.stream(
        "scheduler.run",
        { model: "tiny@1", ids, maxNew: 40 + ((17 * seed) % 80), device },
        { ttl: 600_000 },
      ).result;
    }
  };
  const loops = ["a", "b"].flatMap((part) => Array.from({ length: 16 }, () => loop(part)));
  const got: Got[] = [];
  for (const change of [async () => {}, live]) {
    await change();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const before = await used(system);
    await new Promise((resolve) => setTimeout(resolve, ms));
    const after = await used(system);
    const of = (key: "cpuMs" | "usedMs") => {
      const [a, b] = [after.a[key] - before.a[key], after.b[key] - before.b[key]];
      return a / (a + b);
    };
    got.push({ due: Math.round(100 * after.a.share), cpu: of("cpuMs"), time: of("usedMs") });
  }
  on = false;
  await Promise.all(loops);
  return got;
}
