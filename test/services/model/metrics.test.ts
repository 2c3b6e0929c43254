// A text over four real services: what it cost shows in the metrics of each.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { modelFolder, startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
  await system.client.call("model.importDir", { dir: modelFolder(), name: "fox" });
});
test.after(async () => {
  await system.stop();
});

/** Values of one metric, by part of a histogram and labels. */
async function valuesOf(owner: "model" | "scheduler" | "device" | "memory", name: string) {
  const { metrics } = await system.client.call(`${owner}.metrics`, {});
  return metrics.find((family) => family.name === name)?.values ?? [];
}

test("a text is measured by each service on its way, and neither prompt nor text is shown", async () => {
  const { usage } = await system.client.stream("model.generate", {
    model: "fox",
    prompt: "the quick brown MARKER",
    maxTokens: 24,
  }).result;
  const total = async (owner: Parameters<typeof valuesOf>[0], name: string, suffix = "") =>
    (await valuesOf(owner, name))
      .filter(({ metricName }) => metricName === undefined || metricName === name + suffix)
      .reduce((sum, { value }) => sum + value, 0);
  assert.is(await total("model", "soma_new_tokens_total"), usage.newTokens);
  assert.is(await total("model", "soma_first_token_seconds", "_count"), 1);
  assert.is(await total("model", "soma_token_seconds", "_count"), 1);
  assert.is(await total("scheduler", "soma_queue_wait_seconds", "_count"), 1);
  assert.ok((await total("scheduler", "soma_quantum_sequences", "_count")) >= 1);
  assert.ok((await total("scheduler", "soma_computed_tokens_total")) >= usage.newTokens);
  assert.ok((await total("device", "soma_weight_bytes")) > 0);
  assert.ok((await total("device", "soma_kv_bytes")) > 0);
  assert.ok((await total("memory", "soma_memory_bytes")) > 0);
  const calls = await valuesOf("model", "soma_syscalls_total");
  const generate = calls.find(({ labels }) => labels.call === "generate");
  assert.equal([generate?.value, generate?.labels.outcome, generate?.labels.instance], [1, "OK", "model-1"]);
  for (const owner of ["model", "scheduler", "device", "memory"] as const)
    assert.not.match(JSON.stringify(await system.client.call(`${owner}.metrics`, {})), /MARKER|quick/);
});

test.run();
