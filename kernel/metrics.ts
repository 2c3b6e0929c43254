// Owns what the kernel tells of the processes that it supervises, as metrics.
import type { ChildActor } from "./effects.ts";
import type { Metrics } from "./ipc/metrics.ts";
import type { Leases } from "./leases.ts";

export function readProcesses(metrics: Metrics, children: ReadonlyMap<string, ChildActor>, leases: Leases): void {
  const each = (figure: (process: string, actor: ChildActor) => number | undefined) =>
    [...children].flatMap(([process, actor]): [{ process: string }, number][] => {
      const value = figure(process, actor);
      return value === undefined ? [] : [[{ process }, value]];
    });
  const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);
  metrics.read("soma_restarts_total", () => each((_, actor) => actor.getSnapshot().context.total));
  metrics.read("soma_process_ready", () => each((_, actor) => Number(actor.getSnapshot().value === "ready")));
  metrics.read("soma_lease_age_seconds", () => each((process) => seconds(leases.age(process, performance.now()))));
  metrics.read("soma_lease_lag_seconds", () => each((process) => seconds(leases.last(process)?.lagMs)));
}
