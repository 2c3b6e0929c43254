// Owns kill -9 of each service under load: all come back, nothing that was accepted is lost, streams go on with the same tokens.
import { setTimeout as sleep } from "node:timers/promises";
import { SERVICES, type Service } from "../../kernel/abi/names.ts";
import { until } from "../helpers/system.ts";
import type { Figures } from "./figures.ts";
import { load, quantile } from "./figures.ts";
import type { Load } from "./load.ts";
import { FORGIVEN_MS, type Rig } from "./rig.ts";

/** ms until it answers again, p99. */
const ANSWERING: Record<Service, number> = {
  auth: 1_500,
  memory: 1_500,
  device: 3_000,
  scheduler: 1_500,
  model: 1_500,
};
const LEARN_MS = 150;
/** Those whose loss breaks streams off. */
const STREAMED = new Set<Service>(["device", "scheduler", "model"]);

interface Kill {
  service: Service;
  /** ms from the signal. */
  down: number;
  registered: number;
  answering: number;
  /** The first token of each app after the service answered again; undefined where streams need it not. */
  token: number | undefined;
  loaded: number | undefined;
  learned: number[];
}

/** Kills each service so often, or as often as is possible `within` ms. */
export async function kills(
  rig: Rig,
  streams: Load,
  figures: Figures,
  { rounds: wanted, within }: { rounds: number; within: number },
): Promise<void> {
  const seen: Kill[] = [];
  const end = performance.now() + within;
  let rounds = 0;
  for (; rounds < wanted && performance.now() < end; rounds++)
    for (const service of SERVICES) seen.push(await kill(rig, streams, service));
  const note = `load average ${load()}`;
  for (const service of SERVICES) {
    const of = seen.filter((kill) => kill.service === service);
    const part = `kill -9 ${service}`;
    figures.add(part, "back without help", (100 * of.length) / rounds, "%", { least: 100 }, `${rounds} kills, ${note}`);
    figures.times(
      part,
      "others are told",
      of.map(({ down }) => down),
      LEARN_MS,
    );
    figures.times(
      part,
      "registered again",
      of.map(({ registered }) => registered),
    );
    figures.times(
      part,
      "answers again",
      of.map(({ answering }) => answering),
      ANSWERING[service],
    );
    figures.times(
      part,
      "callers in flight learn of it",
      of.flatMap(({ learned }) => learned),
      LEARN_MS,
    );
    const tokens = of.filter(({ token }) => token !== undefined);
    if (tokens.length === 0) continue;
    const median = (key: "answering" | "loaded" | "token") =>
      quantile(
        tokens.map((kill) => kill[key] ?? kill.answering),
        0.5,
      );
    const parts = `ready ${Math.round(median("answering"))}, load ${Math.round(median("loaded") - median("answering"))}, prefill ${Math.round(median("token") - median("loaded"))} ms`;
    figures.times(
      part,
      "first resumed token",
      tokens.map(({ token }) => token!),
    );
    figures.add(part, "of which, p50", median("token"), "ms", undefined, parts);
  }
}

async function kill(rig: Rig, streams: Load, service: Service): Promise<Kill> {
  const instance = `${service}-1`;
  const { pid, epoch } = await rig.row(instance);
  // Each is a first one: see rig.ts. And something must be under way that the fault can hit.
  await sleep(FORGIVEN_MS / 4);
  await until("streams flow", () => streams.resumed(performance.now() - 500).length > 0, rig.system, 10);
  let registered = Number.NaN;
  const listening = rig.person.bus.subscribe(`hb.${service}.${instance}.${epoch! + 1}`, () => {
    if (Number.isNaN(registered)) registered = performance.now();
  });
  await rig.person.bus.flush();
  const killed = performance.now();
  process.kill(pid!, "SIGKILL");
  const { at } = await rig.answering(service, epoch!);
  const loaded = service === "device" ? await resident(rig) : undefined;
  let token: number | undefined;
  if (STREAMED.has(service)) {
    await until("tokens come again", () => streams.resumed(at).length > 0, rig.system, 5);
    token = Math.min(...streams.resumed(at));
  }
  listening.unsubscribe();
  const down = rig.downs.find((event) => event.instance === instance && event.epoch === epoch);
  if (down === undefined) throw new Error(`nobody was told that ${instance} went down`);
  return {
    service,
    down: down.at - killed,
    registered: registered - killed,
    answering: at - killed,
    loaded: loaded === undefined ? undefined : loaded - killed,
    token: token === undefined ? undefined : token - killed,
    learned: streams.history.learned(killed, at),
  };
}

/** When the model is on the device again. */
async function resident(rig: Rig): Promise<number> {
  await until(
    "the model is loaded again",
    async () => (await rig.person.call("device.list", {}, { ttl: 500, retry: false })).models.length > 0,
    rig.system,
    5,
  );
  return performance.now();
}
