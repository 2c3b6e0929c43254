// Owns the wiring of the scheduler service: queue, effects, calls.
import { createActor, fromPromise, waitFor } from "xstate";
import { runService } from "../../kernel/ipc/service.ts";
import { Kv } from "../../kernel/ipc/store.ts";
import type { SavedAccount } from "./accounts.ts";
import { Board } from "./board.ts";
import { calls } from "./calls.ts";
import { Effects } from "./effects.ts";
import { schedulerMachine } from "./machine.ts";

await runService("scheduler", async (ctx) => {
  const queue = new Board(
    () => performance.now(),
    (principal) => ctx.grants.find(principal)?.caveats.weight ?? 1,
  );
  const effects = new Effects(ctx, queue, await Kv.open<SavedAccount>(ctx.bus, "clock"));
  const open = fromPromise(() => effects.open());
  const machine = createActor(schedulerMachine.provide({ actors: { open } }), {
    id: "scheduler",
    inspect: ctx.recorder.inspect,
  });
  machine.subscribe({ error: ctx.crash });
  machine.start();
  await waitFor(machine, (snapshot) => snapshot.matches("serving"));
  return {
    handlers: calls(queue, effects),
    state: () => machine.getSnapshot().value,
    figures: () => ({ policy: queue.policy, sequences: queue.sequences.size }),
    stop: () => effects.stop(),
  };
});
