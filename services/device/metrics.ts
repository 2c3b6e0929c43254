// Owns what a device tells of its memory as metrics: weights, KV and its blocks, by model.
import type { Metrics } from "../../kernel/ipc/metrics.ts";
import type { Effects } from "./effects.ts";

export function readModels(metrics: Metrics, effects: Pick<Effects, "list">): void {
  const rows = () => effects.list().models;
  metrics.read("soma_weight_bytes", () => rows().map(({ model, weightBytes }) => [{ model }, weightBytes]));
  metrics.read("soma_kv_bytes", () => rows().map(({ model, kvBytes }) => [{ model }, kvBytes]));
  metrics.read("soma_kv_blocks", () =>
    rows().flatMap(({ model, blocks, freeBlocks }) => [
      [{ model, state: "used" }, blocks - freeBlocks],
      [{ model, state: "free" }, freeBlocks],
    ]),
  );
  metrics.read("soma_trainings", () => [[{}, effects.list().trainings]]);
}
