// Owns the wiring of auth, memory and scheduler in the simulation: the product's machines, effects and calls, as their main.ts has them.
import { createActor, fromPromise } from "xstate";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { type App, Apps } from "../../services/auth/apps.ts";
import { calls as authCalls } from "../../services/auth/calls.ts";
import { Ledger } from "../../services/auth/ledger.ts";
import { authMachine } from "../../services/auth/machine.ts";
import { minter, secretsOf } from "../../services/auth/mint.ts";
import { Registrar } from "../../services/auth/registrar.ts";
import { usedBytes } from "../../services/memory/budget.ts";
import { calls as memoryCalls } from "../../services/memory/calls.ts";
import { Effects as MemoryEffects } from "../../services/memory/effects.ts";
import { memoryMachine } from "../../services/memory/machine.ts";
import { Values } from "../../services/memory/values.ts";
import { Board } from "../../services/scheduler/board.ts";
import { Budgets } from "../../services/scheduler/budgets.ts";
import { calls as schedulerCalls } from "../../services/scheduler/calls.ts";
import { Effects as SchedulerEffects } from "../../services/scheduler/effects.ts";
import { schedulerMachine } from "../../services/scheduler/machine.ts";
import { serviceProgram } from "./service.ts";

const SWEEP_MS = 5_000;

export const auth = serviceProgram(async (ctx) => {
  const { client, server, identity, crash, world } = ctx;
  const grants = ctx.bucket("grants") as never;
  const records = ctx.bucket("ledger") as never;
  const ledger = await Ledger.open(records);
  const registrar = await Registrar.open({ grants, records, ledger, minter: minter(secretsOf(identity.secrets)) });
  const apps = await Apps.open(ctx.bucket<App>("apps") as never);
  const machine = createActor(
    authMachine.provide({
      actors: {
        drop: fromPromise(async ({ input: revocations }) => {
          for (const { id, publicKeys, until } of revocations) {
            const keys = { publicKeys, ...(until === null ? {} : { until }) };
            await client.call("kernel.revokeKeys", keys, { ttl: 2_000 });
            await registrar.finished(id);
          }
        }),
      },
      actions: {
        reply: (_, answers) => {
          for (const { mid, output } of answers) server.reply(mid, output);
        },
        warn: (_, { error }) => void (isSomaError(error) || crash(error)),
      },
    }),
    { id: "auth", input: { waiting: registrar.unfinished() } },
  );
  machine.subscribe({ error: crash });
  machine.start();
  const sweep = setInterval(() => {
    registrar.sweep().catch((error) => (isSomaError(error) ? undefined : crash(error)));
  }, SWEEP_MS);
  const look = setInterval(() => world.ledgers(registrar, ledger), 100);
  return {
    handlers: authCalls({ registrar, apps, ledger, client, machine }),
    stop: () => {
      clearInterval(sweep);
      clearInterval(look);
    },
  } as never;
});

export const memory = serviceProgram(async ({ bus, bucket, client, server, log, crash, world }) => {
  const values = await Values.open(bucket("data") as never);
  const effects = new MemoryEffects({ bus, client, log, send: (event) => machine.send(event) });
  const machine = createActor(
    memoryMachine.provide({
      actors: { survey: fromPromise(() => effects.survey()) },
      actions: {
        reply: (_, { mid, freeBytes }) => server.reply(mid, { freeBytes }),
        refuse: (_, { mid, error }) => server.fail(mid, error),
        ask: (_, { device }) => void effects.ask(device),
      },
    }),
    { id: "memory", input: { now: () => performance.now() } },
  );
  machine.subscribe({
    error: crash,
    next: ({ context: { budgets } }) => {
      world.budgets = budgets;
      for (const [device, budget] of Object.entries(budgets))
        world.check(
          "memory is not overcommitted",
          usedBytes(budget) <= budget.totalBytes,
          () => `${device}: ${usedBytes(budget)} of ${budget.totalBytes} bytes`,
        );
    },
  });
  effects.listen();
  machine.start();
  return { handlers: memoryCalls(machine, values, undefined as never, undefined as never) } as never;
});

export const scheduler = serviceProgram(async (ctx) => {
  const queue = new Board(
    () => performance.now(),
    (principal) => ctx.grants.weightOf(principal),
  );
  ctx.world.board = queue;
  const budgets = new Budgets({
    client: ctx.client,
    grants: ctx.grants,
    journal: ctx.bucket("slices") as never,
    name: `${ctx.instance}-${ctx.epoch}`,
    log: ctx.log,
    crash: ctx.crash,
  });
  const effects = new SchedulerEffects(ctx as never, queue, budgets, {
    clock: ctx.bucket("clock") as never,
    parts: ctx.bucket("parts") as never,
  });
  const machine = createActor(schedulerMachine.provide({ actors: { open: fromPromise(() => effects.open()) } }), {
    id: "scheduler",
  });
  machine.subscribe({ error: ctx.crash });
  machine.start();
  await new Promise<void>((resolve) => {
    const look = (): unknown => (machine.getSnapshot().matches("serving") ? resolve() : setTimeout(look, 5));
    look();
  });
  return {
    handlers: schedulerCalls(queue, effects),
    observe: ({ mid }: { mid: string }) => budgets.ended(mid),
    stop: () => effects.stop(),
  } as never;
});
