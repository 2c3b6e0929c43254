// Owns the wiring of the auth service: its records, its machine, its calls.
import { createActor, fromPromise } from "xstate";
import { isSomaError } from "../../kernel/abi/errors.ts";
import type { SignedGrant } from "../../kernel/ipc/grants.ts";
import type { HeadRecord } from "../../kernel/ipc/heads.ts";
import { keyFromSeed } from "../../kernel/ipc/nkey.ts";
import { runService } from "../../kernel/ipc/service.ts";
import { Kv, readStream } from "../../kernel/ipc/store.ts";
import { type App, Apps } from "./apps.ts";
import { calls } from "./calls.ts";
import { Heads } from "./heads.ts";
import { Ledger } from "./ledger.ts";
import { authMachine } from "./machine.ts";
import { minter, secretsOf } from "./mint.ts";
import { Registrar } from "./registrar.ts";

/** How often expired grants are cleared away; they stop to count at once. */
const SWEEP_MS = 5_000;
/** How often new ends of the audit's chains are signed. */
const SIGN_MS = 2_000;
/** Keys that the kernel takes in a call, and how long it may take, well within the time of those who wait. */
const KEYS = 1_024;
const KERNEL_MS = 2_000;

await runService("auth", async ({ bus, client, server, log, recorder, identity, metrics, crash }) => {
  const grants = await Kv.open<SignedGrant>(bus, "grants");
  const records = await Kv.open<unknown>(bus, "ledger");
  for (const kv of [grants, records]) await kv.tidy();
  const ledger = await Ledger.open(records);
  const registrar = await Registrar.open({ grants, records, ledger, minter: minter(secretsOf(identity.secrets)) });
  const apps = await Apps.open(await Kv.open<App>(bus, "apps"));
  const machine = createActor(
    authMachine.provide({
      actors: {
        drop: fromPromise(async ({ input: revocations }) => {
          // A former call may have done so, when auth or the kernel died over it: once more does no harm.
          for (const { id, publicKeys, until } of revocations) {
            for (let at = 0; at < publicKeys.length; at += KEYS)
              await client.call(
                "kernel.revokeKeys",
                { publicKeys: publicKeys.slice(at, at + KEYS), ...(until === null ? {} : { until }) },
                { ttl: KERNEL_MS },
              );
            await registrar.finished(id);
          }
        }),
      },
      actions: {
        reply: (_, answers) => {
          for (const { mid, output } of answers) server.reply(mid, output);
        },
        warn: (_, { error }) => {
          if (!isSomaError(error)) crash(error);
          log.warn({ err: error }, "the broker keeps revoked keys for now: services refuse them");
        },
      },
    }),
    { id: "auth", inspect: recorder.inspect, input: { waiting: registrar.unfinished() } },
  );
  machine.subscribe({ error: crash });
  machine.start();
  const budgets = (figure: "amount" | "used") =>
    registrar
      .all()
      .flatMap((grant) =>
        ledger
          .rows(grant.id, registrar.limits(grant))
          .map(({ budget, amount, spent, leased }): [{ holder: string; budget: string }, number] => [
            { holder: grant.holder, budget },
            figure === "amount" ? amount : spent + leased,
          ]),
      );
  metrics.read("soma_budget_limit", () => budgets("amount"));
  metrics.read("soma_budget_used", () => budgets("used"));
  const sweep = setInterval(() => {
    registrar.sweep().catch((error) => (isSomaError(error) ? log.warn({ err: error }, "not swept") : crash(error)));
  }, SWEEP_MS);
  const heads = await Heads.open({
    kv: await Kv.open<HeadRecord>(bus, "heads"),
    key: keyFromSeed(secretsOf(identity.secrets).grantSeed),
    read: (after) => readStream(bus, "audit", { after }),
    warn: (chain, faults) => log.error({ chain, faults }, "the audit was tampered with: soma audit verify"),
  });
  const signing = every(SIGN_MS, async () => {
    await heads
      .round()
      .catch((error) => (isSomaError(error) ? log.warn({ err: error }, "heads not signed") : crash(error)));
  });
  return {
    handlers: calls({ registrar, apps, ledger, client, machine }),
    state: () => machine.getSnapshot().value,
    figures: () => ({
      apps: apps.all().length,
      grants: registrar.all().length,
      accounts: ledger.size,
      revoking: registrar.unfinished().length,
    }),
    stop: () => {
      clearInterval(sweep);
      signing();
    },
  };
});

/** Does it again and again, `ms` after the last time has ended. Gives the way to stop. */
function every(ms: number, work: () => Promise<void>): () => void {
  let timer = setTimeout(async function again() {
    await work();
    timer = setTimeout(again, ms);
  }, ms);
  return () => clearTimeout(timer);
}
