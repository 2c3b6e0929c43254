// Owns a service that crashes as soon as it starts: it is set aside, tried again now and then, and others notice nothing.
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, CRASHING, STANDIN, System, until } from "../helpers/system.ts";
import { type Figures, load, quantile } from "./figures.ts";

const PROBE_MS = 2_000;
const CALLS = 200;

export async function crashLoop(figures: Figures): Promise<void> {
  const system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
    { service: "device", entry: CRASHING, period: 600_000, probe: PROBE_MS },
  ]);
  try {
    const client = await system.up(["auth-1", "memory-1"]);
    const starts: number[] = [];
    client.bus.subscribe("evt.kernel.life.starting", () => void starts.push(performance.now()));
    await client.bus.flush();
    const looping = await latencies(client);
    await system.state(client, "device-1", "quarantined");
    const crashed = starts.length;
    await until("it was tried again twice", () => starts.length >= crashed + 2, system);
    const spaced = Math.min(...starts.slice(crashed).map((at, i) => at - starts[crashed + i - 1]!));
    const quiet = await latencies(client);
    const part = "crash loop";
    figures.add(
      part,
      "quarantined, and each probe one start",
      spaced >= PROBE_MS * 0.9 ? 100 : 0,
      "%",
      { least: 100 },
      `probes ${Math.round(spaced)} ms apart`,
    );
    const ratio = quantile(looping, 0.99) / quantile(quiet, 0.99);
    figures.add(
      part,
      "others' p99 against quiet, times",
      ratio,
      "",
      { most: 10 },
      `goal 1.1; ${quantile(looping, 0.99).toFixed(1)} ms, load average ${load()}`,
    );
  } finally {
    await system.stop();
  }
}

async function latencies(client: Client): Promise<number[]> {
  const all: number[] = [];
  for (let call = 0; call < CALLS; call++) {
    const asked = performance.now();
    await client.call("memory.get", { key: "x" });
    all.push(performance.now() - asked);
    await sleep(5);
  }
  return all;
}
