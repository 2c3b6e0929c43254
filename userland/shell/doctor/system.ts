// Owns what the doctor looks at in a running system, by its calls alone: services, broker, clocks, stores, drivers.
import { isGoodEnough, MINIMUM } from "../../../kernel/abi/broker.ts";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { SERVICES, serviceOf } from "../../../kernel/abi/names.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Soma } from "../../sdk/soma.ts";
import { duration } from "../render/units.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

type Row = Output<"kernel.ps">["processes"][number];

const STARTING = new Set(["idle", "starting"]);
/** Deadlines go by the caller's clock: beyond the first they are off by what people notice, beyond the second calls fail. */
const SKEW_MS = [250, 2_000] as const;
/** A store that drops its oldest is full as a rule; one that refuses is trouble from here on. */
const FULL = 0.9;

export async function systemFindings(soma: Soma): Promise<Finding[]> {
  const { processes } = await soma.kernel.ps({});
  const { broker } = await soma.kernel.info({});
  const findings = [services(processes), brokerVersion(broker), ...(await clocks(soma, processes)), await stores(soma)];
  return [...findings, await drivers(soma)];
}

export function services(processes: readonly Row[]): Finding {
  const rows = processes.filter(({ kind }) => kind === "service");
  const missing = SERVICES.filter((service) => !rows.some(({ id }) => serviceOf(id) === service));
  if (missing.length > 0)
    return fail("services", `no ${missing.join(", ")}`, 'see "soma events", then "soma start" anew');
  const ill = rows.filter(({ state }) => state !== "ready");
  if (ill.length > 0) {
    const what = ill.map(({ id, state }) => `${id} is ${state}`).join(", ");
    if (ill.every(({ state }) => STARTING.has(state))) return warn("services", what, "ask again when they are ready");
    return fail("services", what, `see "soma log ${ill[0]!.id}", then "soma restart ${ill[0]!.id}"`);
  }
  const restarted = rows.filter(({ restarts }) => restarts > 0);
  if (restarted.length === 0) return ok("services", `${rows.length} are ready, none was restarted`);
  const what = restarted.map(({ id, restarts }) => `${id} was restarted ${restarts} times`).join(", ");
  return warn("services", what, '"soma events" says what ended them');
}

/** `broker` as kernel.info says it. */
export function brokerVersion(broker: string): Finding {
  const version = /^nats-server (\S+)/.exec(broker)?.[1] ?? "";
  if (isGoodEnough(version)) return ok("broker", broker);
  return fail("broker", `${broker}: ${MINIMUM} is needed`, "update nats-server and start again");
}

/** `now` by the other's clock, asked for between two times of ours, all unix ms. The error is half the time between. */
export function skew(who: string, now: number, before: number, after: number): Finding {
  const ms = now - (before + after) / 2;
  const error = (after - before) / 2;
  const what = `${who} is ${duration(Math.abs(ms))} ${ms < 0 ? "behind" : "ahead of"} this clock, within ${duration(error)}`;
  const todo = "set both clocks by NTP (timedatectl set-ntp true)";
  if (Math.abs(ms) - error > SKEW_MS[1]) return fail("clock", what, todo);
  return Math.abs(ms) - error > SKEW_MS[0] ? warn("clock", what, todo) : ok("clock", what);
}

/** The broker's and every actor's; those that are well as one finding. */
async function clocks(soma: Soma, processes: readonly Row[]): Promise<Finding[]> {
  const found = [await clockOf("the broker", async () => (await soma.kernel.df({})).now)];
  for (const { id, state } of processes) {
    const service = id === "kernel" ? "kernel" : serviceOf(id);
    if (service === undefined || (service !== "kernel" && state !== "ready")) continue;
    const to = service === "kernel" ? {} : { instance: id };
    found.push(await clockOf(id, async () => (await soma.client.call(`${service}.stat` as "kernel.stat", {}, to)).now));
  }
  const ill = found.filter(({ state }) => state !== "ok");
  return ill.length > 0 ? ill : [ok("clock", `the broker and ${found.length - 1} actors go by this clock`)];
}

async function clockOf(who: string, ask: () => Promise<number>): Promise<Finding> {
  const before = Date.now();
  try {
    return skew(who, await ask(), before, Date.now());
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    return warn("clock", `${who} did not say its time: ${error.message}`, 'see "soma ps"');
  }
}

async function stores(soma: Soma): Promise<Finding> {
  const { stores } = await soma.kernel.df({});
  const full = stores.filter(({ kind, bytes, maxBytes }) => kind !== "stream" && bytes > FULL * maxBytes);
  if (full.length === 0) return ok("stores", `${stores.length} stores have room`);
  const what = full.map(({ name, bytes, maxBytes }) => `${name} is ${Math.round((100 * bytes) / maxBytes)} % full`);
  return warn("stores", what.join(", "), '"soma df" shows all; "soma mem ls" what apps remember');
}

async function drivers(soma: Soma): Promise<Finding> {
  try {
    const { device, drivers, gpus } = await soma.device.list({});
    const chosen = drivers.find((one) => one.chosen);
    const others = drivers.filter((one) => one !== chosen).map(({ driver, why }) => `${driver}: ${why}`);
    if (chosen === undefined)
      return fail("drivers", `${device} has none: ${others.join("; ")}`, 'see "soma driver ls"');
    const what = `${device} runs ${chosen.driver}: ${chosen.why}`;
    if (gpus.length === 0 || /gpu/.test(chosen.driver)) return ok("drivers", what);
    return warn("drivers", `${what}, though it has ${gpus.length} GPUs`, others.join("; "));
  } catch (error) {
    if (!(error instanceof SomaError)) throw error;
    return fail("drivers", `no device answers: ${error.message}`, 'see "soma ps" and "soma events"');
  }
}
