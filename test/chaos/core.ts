// Owns faults of what stands below the services: the kernel and the broker killed, and a service that is stopped.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import { LIMITS } from "../../kernel/abi/limits.ts";
import { services, until } from "../helpers/system.ts";
import { type Figures, load } from "./figures.ts";
import type { Load } from "./load.ts";
import { FORGIVEN_MS, type Rig } from "./rig.ts";

const ADOPTED_MS = 2_000;
const BROKER_MS = 2_000;
const STOPPED_MS = 4_000;
/** Failing at once: no timeout, no buffer. */
const AT_ONCE_MS = 50;

/** The launcher stops everything when kernel or broker die too often: each further fault waits until it is the second lately. */
const rest = (rounds: number, round: number) =>
  rounds > LIMITS.intensity && round + 1 < rounds ? sleep(LIMITS.period / 2) : undefined;

const flowing = (rig: Rig, streams: Load) =>
  until("streams flow", () => streams.resumed(performance.now() - 500).length > 0, rig.system, 10);

/** Services go on serving, and the kernel that follows starts nothing twice. */
export async function kernelKills(rig: Rig, streams: Load, figures: Figures, rounds: number): Promise<void> {
  const adopted: number[] = [];
  let [failed, twice] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    await flowing(rig, streams);
    const before = await rig.rows();
    const kernel = before.find(({ id }) => id === "kernel")!;
    const killed = performance.now();
    process.kill(kernel.pid!, "SIGKILL");
    let after = before;
    await until(
      "a new kernel has adopted all",
      async () => {
        after = await rig.rows(400);
        const ready = after.filter(({ kind, state }) => kind === "service" && state === "ready");
        return after.find(({ id }) => id === "kernel")!.pid !== kernel.pid && ready.length === services(before).length;
      },
      rig.system,
      5,
    );
    adopted.push(performance.now() - killed);
    const doubled = services(after).filter((row) => !services(before).some((was) => `${was}` === `${row}`));
    twice += doubled.length;
    failed += streams.history.since(killed).filter(({ outcome }) => outcome === "fail" || outcome === "info").length;
    await sleep(FORGIVEN_MS);
    await rest(rounds, round);
  }
  const part = "kill -9 kernel";
  figures.times(part, "all adopted", adopted, ADOPTED_MS);
  figures.add(part, "calls of apps that failed", failed, "", { most: 0 }, `load average ${load()}`);
  figures.add(part, "services started twice", twice, "", { most: 0 });
}

/** Everybody reconnects; what is called while it is away fails at once, and says that nothing was done. */
export async function brokerKills(rig: Rig, streams: Load, figures: Figures, rounds: number): Promise<void> {
  const first: number[] = [];
  const refused: number[] = [];
  let silent = 0;
  const app = rig.apps[0]!.client;
  for (let round = 0; round < rounds; round++) {
    await flowing(rig, streams);
    const { pid } = (await rig.rows()).find(({ id }) => id === "broker")!;
    const killed = performance.now();
    process.kill(pid!, "SIGKILL");
    await until("the connection is lost", () => !app.bus.connected, rig.system, 1);
    for (;;) {
      const asked = performance.now();
      try {
        await app.call("memory.get", { key: "counter" }, { ttl: 1_000, retry: false });
        break;
      } catch (error) {
        if (!(error instanceof SomaError)) throw error;
        if (error.code === "EIO" && error.executed === "no") refused.push(performance.now() - asked);
        if (error.message === "") silent += 1;
      }
      await sleep(10);
    }
    first.push(performance.now() - killed);
    for (const { client } of rig.apps) await until("every app is back", () => client.bus.connected, rig.system, 5);
    await flowing(rig, streams);
    await rest(rounds, round);
  }
  const part = "kill -9 broker";
  figures.times(part, "first call that succeeds", first, BROKER_MS);
  figures.times(part, "a call while it is away fails after", refused, AT_ONCE_MS);
  figures.add(part, "refusals that do not say why", silent, "", { most: 0 }, `of ${refused.length}`);
}

/** A process that is stopped is found dead by its leases, and replaced. */
export async function stopped(rig: Rig, streams: Load, figures: Figures, rounds: number): Promise<void> {
  const declared: number[] = [];
  const back: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await flowing(rig, streams);
    const { pid, epoch } = await rig.row("memory-1");
    const at = performance.now();
    process.kill(pid!, "SIGSTOP");
    const isIt = (event: { instance: string; epoch: number }) => event.instance === "memory-1" && event.epoch === epoch;
    await until("it is declared dead", () => rig.downs.some(isIt), rig.system, 5);
    declared.push(rig.downs.find(isIt)!.at - at);
    back.push((await rig.answering("memory", epoch!)).at - at);
    await sleep(FORGIVEN_MS);
  }
  figures.times("SIGSTOP memory", "declared dead", declared, STOPPED_MS);
  figures.times("SIGSTOP memory", "a successor answers", back, STOPPED_MS + 1_500);
}
