// Owns the wiring of the scheduler service: queue, effects, calls.
import { createActor, fromPromise, waitFor } from "xstate";
import { runService } from "../../kernel/ipc/service.ts";
import { Kv } from "../../kernel/ipc/store.ts";
import type { SavedAccount } from "./accounts.ts";
import { Board } from "./board.ts";
import { Budgets } from "./budgets.ts";
import { calls } from "./calls.ts";
import { Effects } from "./effects.ts";
import { schedulerMachine } from "./machine.ts";
import type { Cut } from "./parts.ts";
import type { Amounts } from "./quota.ts";

await runService("scheduler", async (ctx) => {
  const queue = new Board(
    () => performance.now(),
    (principal) => ctx.grants.weightOf(principal),
  );
  const budgets = new Budgets({
    client: ctx.client,
    grants: ctx.grants,
    journal: await Kv.open<Amounts>(ctx.bus, "slices"),
    name: `${ctx.instance}-${ctx.epoch}`,
    log: ctx.log,
    crash: ctx.crash,
  });
  const effects = new Effects(ctx, queue, budgets, {
    clock: await Kv.open<SavedAccount>(ctx.bus, "clock"),
    parts: await Kv.open<Cut[]>(ctx.bus, "parts"),
  });
  const open = fromPromise(() => effects.open());
  const machine = createActor(schedulerMachine.provide({ actors: { open } }), {
    id: "scheduler",
    inspect: ctx.recorder.inspect,
  });
  machine.subscribe({ error: ctx.crash });
  machine.start();
  ctx.metrics.read("soma_sequences", () => {
    const running = [...queue.sequences.values()].filter(({ charged }) => charged.length > 0).length;
    return [
      [{ state: "running" }, running],
      [{ state: "waiting" }, queue.sequences.size - running],
    ];
  });
  ctx.metrics.read("soma_computed_tokens_total", () =>
    [...queue.accounts.values()].map(({ principal, tokens, restored }) => [{ principal }, tokens - restored]),
  );
  await waitFor(machine, (snapshot) => snapshot.matches("serving"));
  return {
    handlers: calls(queue, effects),
    state: () => machine.getSnapshot().value,
    figures: () => ({ policy: queue.policy, sequences: queue.sequences.size, slices: budgets.size }),
    observe: ({ mid }) => budgets.ended(mid),
    stop: () => effects.stop(),
  };
});
