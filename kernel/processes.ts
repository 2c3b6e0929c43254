// Owns the process table as people see it: one row for each process of the system.
import type { z } from "zod";
import type { processRow } from "./abi/syscalls/kernel.ts";
import type { ChildActor } from "./effects.ts";
import type { Leases } from "./leases.ts";
import type { Apps } from "./spawn.ts";
import { usageOf } from "./usage.ts";

type Row = z.input<typeof processRow>;

export interface ProcessTable {
  children: ReadonlyMap<string, ChildActor>;
  apps: Apps;
  leases: Leases;
  kernel: { epoch: number };
  launcher: { pid: number; startedAt: number };
  /** Host name of the container in which a service has its launcher; undefined for those here. */
  where: (instance: string) => string | undefined;
  /** `pid` is absent where it is not ours. `startedAt` in unix ms. */
  broker: () => { state: "up" | "down"; pid?: number; startedAt: number };
}

/** All rows; what a process uses is asked of the system, or of its last beat when it runs elsewhere. */
export function processes({ children, apps, leases, kernel, launcher, broker, where }: ProcessTable): Row[] {
  const now = performance.now();
  const since = (startedAt: number) => Date.now() - startedAt;
  const { state, pid, startedAt } = broker();
  const none = { epoch: 0, restarts: 0 };
  const rows: Row[] = [
    { ...none, id: "launcher", kind: "launcher", pid: launcher.pid, state: "up", uptimeMs: since(launcher.startedAt) },
    { ...none, id: "broker", kind: "broker", pid, state, uptimeMs: since(startedAt) },
    {
      ...none,
      ...kernel,
      id: "kernel",
      kind: "kernel",
      pid: process.pid,
      state: "up",
      uptimeMs: process.uptime() * 1000,
    },
  ];
  for (const [id, actor] of children) {
    const { value, context } = actor.getSnapshot();
    const { pid, epoch, total, startedAt, reason, exit } = context;
    const host = where(id);
    const note = reason ?? (pid === undefined ? exit?.lines.at(-1) : host && `in ${host}`);
    rows.push({
      id,
      kind: "service",
      state: String(value),
      epoch,
      restarts: total,
      uptimeMs: pid === undefined ? 0 : now - startedAt,
      ...(pid === undefined ? {} : { pid }),
      ...(note === undefined ? {} : { note }),
    });
  }
  for (const [id, { pid, owner, startedAt, detached }] of apps.all()) {
    rows.push({
      id,
      kind: "app",
      pid,
      state: pid === undefined ? "starting" : "running",
      epoch: 0,
      restarts: 0,
      uptimeMs: Date.now() - startedAt,
      owner,
      ...(detached ? { note: "detached" } : {}),
    });
  }
  // A pid of another container means somebody else here.
  const isHere = ({ id, pid }: Row) => pid !== undefined && where(id) === undefined;
  const usage = usageOf(rows.filter(isHere).map(({ pid }) => pid!));
  return rows.map((row) => {
    const beat = leases.last(row.id) as { rssBytes?: number; cpuMs?: number } | undefined;
    const used = row.pid === undefined ? undefined : ((isHere(row) ? usage.get(row.pid) : undefined) ?? beat);
    return used === undefined ? row : { ...row, rssBytes: used.rssBytes, cpuMs: used.cpuMs };
  });
}
