import { test } from "uvu";
import * as assert from "uvu/assert";
import { countCalls, Metrics } from "../../../kernel/ipc/metrics.ts";

test("calls are counted by outcome and caller, with their time, and each value names its instance", async () => {
  const metrics = new Metrics("model-2");
  const { called, refused } = countCalls(metrics, "model");
  called({ call: "generate", caller: "app" }, "OK", 30);
  called({ call: "generate", caller: "app" }, "OK", 40);
  refused("app", "generate", "EBUSY");
  const families = await metrics.show();
  const calls = families.find(({ name }) => name === "soma_syscalls_total")!.values;
  const about = { call: "generate", caller: "app", service: "model", instance: "model-2" };
  assert.equal(
    calls.map(({ value, labels }) => ({ value, labels })),
    [
      { value: 2, labels: { ...about, outcome: "OK" } },
      { value: 1, labels: { ...about, outcome: "EBUSY" } },
    ],
  );
  const seconds = families.find(({ name }) => name === "soma_syscall_seconds")!.values as unknown as {
    metricName: string;
    value: number;
  }[];
  const sum = seconds.find(({ metricName }) => metricName.endsWith("_sum"));
  assert.ok(Math.abs(sum!.value - 0.07) < 1e-9);
});

test("a label takes no more than 64 values: later ones are counted together, and what is no call has no name", async () => {
  const metrics = new Metrics("auth-1");
  const { called, refused } = countCalls(metrics, "auth");
  for (let i = 0; i < 100; i++) called({ call: "apps", caller: `app-${i}` }, "OK", 1);
  for (let i = 0; i < 100; i++) refused("evil", `thought-up-${i}`, "ENOSYS");
  const { values } = (await metrics.show()).find(({ name }) => name === "soma_syscalls_total")!;
  const other = values.filter(({ labels }) => labels.caller === "other");
  assert.is(values.length, 66);
  assert.is(
    other.reduce((sum, { value }) => sum + value, 0),
    36 + 100,
  );
  assert.equal([...new Set(values.map(({ labels }) => labels.call))].sort(), ["apps", "unknown"]);
});

test("figures that are known elsewhere are read when somebody looks", async () => {
  const metrics = new Metrics("scheduler-1");
  let running = 3;
  metrics.read("soma_sequences", () => [[{ state: "running" }, running]]);
  const now = async () => (await metrics.show())[0]!.values.map(({ value }) => value);
  assert.equal(await now(), [3]);
  running = 1;
  assert.equal(await now(), [1]);
});

test.run();
