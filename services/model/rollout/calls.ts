// Owns the table from calls about rollouts to what answers them.
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Handlers } from "../../../kernel/ipc/server.ts";
import type { Registry } from "../registry.ts";
import type { Gate } from "./gate.ts";
import type { Rollouts } from "./rollouts.ts";

type RolloutHandlers = Pick<Handlers<"model">, "promote" | "canary" | "rollback" | "rollouts">;

export interface Rolling {
  rollouts: Rollouts;
  gate: Gate;
}

export function rolloutCalls({ rollouts, gate }: Rolling, registry: Registry): RolloutHandlers {
  return {
    promote: async ({ model, alias, dtype, gate: wanted }, request) => {
      const found = { record: registry.find(model).record, dtype: dtype ?? "f32" };
      const before = registry.alias(alias) === undefined ? undefined : registry.find(alias);
      const options = { for: request.principal, signal: request.signal };
      const checks = await gate.measure(found, before, wanted, options);
      const failed = checks.filter(({ passed }) => !passed);
      if (failed.length > 0) {
        const why = failed
          .map((check) => `${check.metric} of ${check.data} ${check.why}, ${check.cases} cases`)
          .join("; ");
        throw new SomaError("EPERM", `the gate refuses ${model}: ${why}`);
      }
      const passed = checks.map((check) => `${check.metric} ${check.why}`).join("; ");
      return { rollout: await rollouts.promote(alias, found, passed || "by hand, without a gate"), checks };
    },
    canary: ({ model, alias, dtype, ...how }) =>
      rollouts.canary(alias, { record: registry.find(model).record, dtype: dtype ?? "f32" }, how),
    rollback: ({ alias }) => rollouts.rollback(alias),
    rollouts: () => ({ rollouts: rollouts.list() }),
  };
}
