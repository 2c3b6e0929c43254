// Owns the kernel's answers: one handler for each call of its table.
import { waitFor } from "xstate";
import { SomaError } from "./abi/errors.ts";
import { ABI } from "./abi/limits.ts";
import { serviceOf } from "./abi/names.ts";
import { STORES, type Store } from "./abi/storage.ts";
import { readAudit } from "./audit.ts";
import type { ChildActor, Supervision } from "./effects.ts";
import { version } from "./files.ts";
import type { Hands } from "./hands.ts";
import { readEvents, readLog } from "./history.ts";
import type { NatsBus } from "./ipc/bus.ts";
import type { Handlers } from "./ipc/server.ts";
import { brokerClock, storeUsage } from "./ipc/stores.ts";
import { type ProcessTable, processes } from "./processes.ts";
import type { Registry } from "./registry.ts";
import type { Apps } from "./spawn.ts";
import { readTrace, readTraces } from "./traces.ts";
import { verifyAudit } from "./verify.ts";

export interface KernelCalls {
  bus: NatsBus;
  hands: Hands;
  registry: Registry;
  apps: Apps;
  table: ProcessTable;
  supervision: Supervision;
}

export function kernelCalls(kernel: KernelCalls): Handlers<"kernel"> {
  const { bus, hands, registry, apps, table, supervision } = kernel;
  const { children } = supervision;
  return {
    register: async (input, request) => {
      const answer = await registry.register(request.caller, input);
      supervision.registered(answer.instance, answer.epoch);
      return answer;
    },
    ready: async ({ epoch }, request) => {
      await registry.ready(request.caller, epoch);
      supervision.ready(request.caller, epoch);
      return {};
    },
    revokeKeys: async ({ publicKeys, until }, request) => {
      if (serviceOf(request.caller) !== "auth")
        throw new SomaError("EPERM", `revokeKeys is for auth, and you are "${request.caller}"`);
      await registry.revoke(publicKeys, until);
      return {};
    },
    ps: () => ({ processes: processes(table) }),
    kill: ({ id, signal }) => {
      if (apps.has(id)) {
        if (signal === "SIGTERM") void apps.end(id);
        else hands.kill(id, signal);
        return { id };
      }
      const pid = children.get(id)?.getSnapshot().context.pid;
      if (pid !== undefined) {
        hands.kill(id, signal);
        return { id, pid };
      }
      return { id, pid: killCore(id, signal, table) };
    },
    restart: async ({ service }, request) => {
      const chosen = [...children].filter(
        ([id, actor]) => id === service || actor.getSnapshot().context.spec.service === service,
      );
      if (chosen.length === 0)
        throw new SomaError("ENOENT", `no service "${service}": there are ${[...children.keys()].join(", ")}`);
      let last = { instance: "", epoch: 0 };
      // One after the other, so that a service with several instances is never gone.
      for (const [instance, actor] of chosen) last = { instance, epoch: await cycle(actor, instance, request.signal) };
      return last;
    },
    spawn: (input, request) => apps.spawn(input, request),
    log: (input, request) => readLog(bus, input, request),
    events: (input, request) => readEvents(bus, input, request),
    trace: ({ id }, request) => readTrace(bus, id, request.signal),
    traces: (input, request) => readTraces(bus, input, request),
    audit: (input, request) => readAudit(bus, input, request),
    verify: async (_input, request) => {
      const runs = (actor: string, epoch: number) =>
        actor === "kernel" ? epoch === table.kernel.epoch : registry.runs(actor, epoch);
      const { chains, totals } = await verifyAudit({ bus, key: registry.grantKey, runs }, request.signal);
      for (const chain of chains) await request.emit({ chains: [chain] });
      return totals;
    },
    df: async () => ({
      now: await brokerClock(bus),
      stores: (await storeUsage(bus)).map(({ name, bytes, messages }) => {
        const { kind, owner, maxBytes, maxAgeMs, what }: Store = STORES[name];
        return { name, kind, owner, bytes, maxBytes, messages, maxAgeMs, what };
      }),
    }),
    info: () => ({
      version: version(),
      abi: ABI,
      broker: `nats-server ${bus.nc.info?.version ?? "unknown"} at ${bus.nc.getServer()}`,
      uptimeMs: Date.now() - table.launcher.startedAt,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
    }),
    shutdown: () => {
      setImmediate(supervision.shutdown);
      return {};
    },
  };
}

/** Restarts one and waits until it is ready; gives its new epoch. */
async function cycle(actor: ChildActor, instance: string, signal: AbortSignal): Promise<number> {
  const former = actor.getSnapshot().context.epoch;
  actor.send({ type: "restart" });
  const settled = await waitFor(
    actor,
    ({ value, context }) =>
      (value === "ready" && context.epoch > former) || ["quarantined", "failed", "stopped"].includes(String(value)),
    { timeout: Number.POSITIVE_INFINITY, signal },
  ).catch((cause: unknown) => {
    if (!signal.aborted) throw cause;
    throw new SomaError("ETIME", `${instance} is not ready yet: see "soma ps"`, { executed: "maybe", cause });
  });
  if (settled.value === "ready") return settled.context.epoch;
  const why = settled.context.exit?.lines.at(-1) ?? settled.context.reason ?? "";
  throw new SomaError("ESERVICEDOWN", `${instance} is ${String(settled.value)}: ${why}`, { executed: "yes" });
}

/** Signals what stands below the services. The launcher ends with the system only. */
function killCore(id: string, signal: NodeJS.Signals, { broker, launcher }: ProcessTable): number {
  const pid = id === "kernel" ? process.pid : id === "broker" ? broker().pid : undefined;
  if (id === "launcher")
    throw new SomaError("EINVAL", `the launcher (${launcher.pid}) ends with the system: use "soma stop"`);
  if (pid === undefined) throw new SomaError("ENOENT", `no process "${id}" runs: see "soma ps"`);
  // After the reply has left.
  setTimeout(() => process.kill(pid, signal), 20);
  return pid;
}
