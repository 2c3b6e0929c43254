// Owns the wiring of the memory service: machine, effects, calls.
import { createActor, fromPromise } from "xstate";
import { Objects } from "../../kernel/ipc/objects.ts";
import { runService } from "../../kernel/ipc/service.ts";
import { Kv } from "../../kernel/ipc/store.ts";
import { type BlobRecord, Blobs, blobQuota } from "./blobs.ts";
import { freeBytes, usedBytes } from "./budget.ts";
import { calls } from "./calls.ts";
import { Effects } from "./effects.ts";
import { memoryMachine } from "./machine.ts";
import type { RowsRecord } from "./rows/log.ts";
import { Rows } from "./rows/rows.ts";
import { Values } from "./values.ts";

await runService("memory", async ({ bus, client, server, log, recorder, metrics, instance, epoch, crash }) => {
  const values = await Values.open(await Kv.open(bus, "data"));
  const objects = await Objects.open(bus, "blobs");
  const rows = await Rows.open(await Kv.open<RowsRecord>(bus, "data"), objects, {
    prefix: `rows-${instance}-${epoch}`,
  });
  const blobs = await Blobs.open(await Kv.open<BlobRecord>(bus, "data"), objects, {
    prefix: `${instance}-${epoch}`,
    quota: blobQuota,
    others: rows.known(),
  });
  const effects = new Effects({ bus, client, log, send: (event) => machine.send(event) });
  const machine = createActor(
    memoryMachine.provide({
      actors: { survey: fromPromise(() => effects.survey()) },
      actions: {
        reply: (_, { mid, freeBytes }) => server.reply(mid, { freeBytes }),
        refuse: (_, { mid, error }) => server.fail(mid, error),
        ask: (_, { device }) => void effects.ask(device),
      },
    }),
    { id: "memory", input: { now: () => performance.now() }, inspect: recorder.inspect },
  );
  machine.subscribe({ error: crash });
  effects.listen();
  machine.start();
  metrics.read("soma_memory_bytes", () =>
    Object.entries(machine.getSnapshot().context.budgets).flatMap(([device, budget]) => [
      [{ device, use: "weights" }, usedBytes(budget, "weights")],
      [{ device, use: "kv" }, usedBytes(budget, "kv")],
      [{ device, use: "free" }, freeBytes(budget)],
    ]),
  );
  return {
    handlers: calls(machine, values, blobs, rows),
    state: () => machine.getSnapshot().value,
    figures: () => ({
      devices: Object.keys(machine.getSnapshot().context.budgets).length,
      namespaces: values.usage().size,
      blobs: blobs.size,
      search: rows.figures(),
    }),
  };
});
