// Owns what `soma top` shows: who uses the devices, computed from two looks at the system. Pure.
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { table } from "./table.ts";
import { bytes, clock } from "./units.ts";

/** One look at the system, by its calls alone. */
export interface Look {
  /** Unix ms. */
  at: number;
  policy: Output<"scheduler.policy">;
  queue: Output<"scheduler.queue">;
  parts: Output<"scheduler.parts">["parts"];
  memory: Output<"memory.free">["devices"];
  devices: Output<"device.list">[];
}

export interface AppRow {
  app: string;
  tokensPerSecond: number;
  /** Of the tokens computed between the looks; of all there ever were where none was. 0 to 1. */
  share: number;
  running: number;
  waiting: number;
  paused: number;
  /** Set aside for its sequences that are on a device. */
  kvBlocks: number;
  preemptions: number;
}

export interface DeviceRow {
  device: string;
  driver: string;
  /** Of the time between the looks, 0 to 1. */
  load: number;
  memoryBytes: number;
  usedBytes: number;
  blocks: number;
  leased: number;
  trainings: number;
}

/** The stable form of `soma top --json`. */
export interface Frame {
  at: number;
  policy: string;
  apps: AppRow[];
  devices: DeviceRow[];
}

/** Apps that use most come first. Who neither did anything nor waits is left out, unless nobody did. */
export function frame(before: Look, now: Look): Frame {
  const seconds = Math.max(1e-3, (now.at - before.at) / 1000);
  const earlier = new Map(before.policy.shares.map(({ principal, tokens }) => [principal, tokens]));
  // A scheduler that started anew has counted less.
  const made = now.policy.shares.map((one) => ({
    ...one,
    made: Math.max(0, one.tokens - (earlier.get(one.principal) ?? 0)),
  }));
  const sum = made.reduce((total, one) => total + one.made, 0);
  const ever = made.reduce((total, { tokens }) => total + tokens, 0);
  const apps = made.map(({ principal, made, tokens, preempted }): AppRow => {
    const sequences = now.queue.sequences.filter((one) => one.principal === principal);
    const count = (state: string) => sequences.filter((one) => one.state === state).length;
    return {
      app: principal,
      tokensPerSecond: made / seconds,
      share: sum > 0 ? made / sum : tokens / Math.max(1, ever),
      running: count("running"),
      waiting: count("waiting"),
      paused: count("paused"),
      kvBlocks: sequences.reduce((total, { blocks }) => total + blocks, 0),
      preemptions: preempted,
    };
  });
  const busy = apps.filter((row) => row.tokensPerSecond > 0 || row.running + row.waiting + row.paused > 0);
  const rows = (busy.length > 0 ? busy : apps).sort((a, b) => b.share - a.share || (a.app < b.app ? -1 : 1));
  return { at: now.at, policy: now.policy.policy, apps: rows, devices: deviceRows(before, now) };
}

function deviceRows(before: Look, now: Look): DeviceRow[] {
  const used = ({ parts }: Look, device: string) =>
    parts.filter((part) => part.device === device).reduce((total, { usedMs }) => total + usedMs, 0);
  return now.devices.map(({ device, drivers, models, trainings, budgetBytes }) => {
    const memory = now.memory.find((one) => one.device === device);
    const parts = now.parts.filter((part) => part.device === device);
    const running = [...new Set(models.map(({ driver }) => driver))].join(" ");
    const ms = Math.max(0, used(now, device) - used(before, device));
    return {
      device,
      driver: running || (drivers.find(({ chosen }) => chosen)?.driver ?? "none"),
      load: Math.min(1, ms / Math.max(1, now.at - before.at)),
      memoryBytes: memory?.totalBytes ?? budgetBytes,
      usedBytes: memory === undefined ? 0 : memory.weightBytes + memory.kvBytes,
      blocks: parts.reduce((total, { blocks }) => total + blocks, 0),
      leased: parts.reduce((total, { leased }) => total + leased, 0),
      trainings,
    };
  });
}

const percent = (share: number) => `${Math.round(100 * share)}%`;

/** At most `height` lines: the apps that use least are left out. */
export function frameText({ at, policy, apps, devices }: Frame, height = Number.POSITIVE_INFINITY): string {
  const head = `${clock(at)}  policy ${policy}`;
  const deviceTable = table(
    ["DEVICE", "DRIVER", ">LOAD", ">MEMORY", ">OF", ">BLOCKS", ">OF", ">TRAINS"],
    devices.map((d) => [
      d.device,
      d.driver,
      percent(d.load),
      bytes(d.usedBytes),
      bytes(d.memoryBytes),
      d.leased,
      d.blocks,
      d.trainings,
    ]),
  );
  const room = Math.max(1, height - devices.length - 6);
  const appTable = table(
    ["APP", ">TOKENS/S", ">SHARE", ">RUN", ">WAIT", ">PAUSED", ">BLOCKS", ">PREEMPTED"],
    apps
      .slice(0, room)
      .map((a) => [
        a.app,
        Math.round(a.tokensPerSecond),
        percent(a.share),
        a.running,
        a.waiting,
        a.paused,
        a.kvBlocks,
        a.preemptions,
      ]),
  );
  const more = apps.length > room ? `\n${apps.length - room} more apps` : "";
  return `${head}\n\n${deviceTable}\n\n${apps.length === 0 ? "no app has computed anything yet" : appTable}${more}`;
}
