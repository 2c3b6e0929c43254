// A training job over real services: what is done on its behalf stands in the trace of the call that submitted it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { readTrace } from "../../../kernel/traces.ts";
import { until } from "../../helpers/system.ts";
import { startRunning } from "./running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

test("a job's trace shows the device's run and the blobs that it reads and writes", async () => {
  const trace = "a".repeat(32);
  await system.client.call(
    "model.train",
    {
      name: "points",
      architecture: "mlp",
      data: "random",
      seed: 1,
      config: { layers: [4, 8, 2] },
      hyper: { steps: 5, batch: 8, examples: 32 },
    },
    { traceparent: `00-${trace}-${"b".repeat(16)}-01` },
  );
  let spans: Awaited<ReturnType<typeof readTrace>>["spans"] = [];
  await until("a span of the device's run", async () => {
    const found = await readTrace(system.kernel.bus, trace, new AbortController().signal).catch((error) => {
      if (isSomaError(error, "ENOENT")) return undefined;
      throw error;
    });
    spans = found?.spans ?? [];
    return spans.some(({ name }) => name === "device.train");
  });
  const root = spans.find(({ name }) => name === "model.train");
  const run = spans.find(({ name }) => name === "device.train");
  assert.equal([run?.actor, run?.parent, run?.code], ["device-1", root?.span, "OK"]);
  const blobs = spans.filter(({ name }) => name === "memory.read" || name === "memory.write");
  assert.ok(
    blobs.some(({ parent, actor }) => parent === run?.span && actor === "memory-1"),
    "the device's own calls are part of it",
  );
});

test.run();
