// Owns the system that the bench measures: the real services on a real broker, the model resident, and requests with their timings.
import type { Principal } from "../../kernel/abi/headers.ts";
import type { POLICIES } from "../../kernel/abi/syscalls/scheduler.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { MODEL, startRunning } from "../../test/services/scheduler/running.ts";
import { sleep, type Timing } from "./timing.ts";
import { type Agent, MODEL_15M } from "./workload.ts";

export type System = Awaited<ReturnType<typeof startSystem>>;
export type Policy = (typeof POLICIES)[number];

export async function startSystem(kvBytes: number) {
  const running = await startRunning(MODEL_15M, kvBytes);
  await running.load();
  const person: Client = await running.world.client("person");

  async function ask(agent: Omit<Agent, "arrival">, model = MODEL, who?: Principal): Promise<Timing> {
    const from = performance.now();
    let first: number | undefined;
    let got = 0;
    const stream = running.client.stream(
      "scheduler.run",
      { model, ids: agent.ids, maxNew: agent.maxNew, priority: agent.priority },
      {
        for: who ?? { principal: agent.app },
        ttl: agent.ttl,
        complete: ({ newTokens }) => got >= newTokens,
      },
    );
    for await (const { pos, ids } of stream) {
      first ??= performance.now() - from;
      got = Math.max(got, pos + ids.length);
    }
    const { usage, newTokens } = await stream.result;
    const total = performance.now() - from;
    return { wait: usage.queueMs, first: first ?? total, total, newTokens };
  }

  return {
    ...running,
    /** One sequence and its ids, as tests run it. */
    sequence: running.run,
    person,
    ask,
    set: (policy: Policy) => person.call("scheduler.set", { policy }),
    /** All of them, each when its time has come. */
    run: (agents: readonly Agent[], model = MODEL): Promise<Timing[]> =>
      Promise.all(
        agents.map(async (agent) => {
          await sleep(agent.arrival);
          return ask(agent, model);
        }),
      ),
    /** Tokens computed so far for each app. */
    async tokens(): Promise<Map<string, number>> {
      const { shares } = await person.call("scheduler.policy", {});
      return new Map(shares.map(({ principal, tokens }) => [principal, tokens]));
    },
    /** A grant with this weight, from the real auth. */
    async grant(holder: string, weight: number): Promise<Principal> {
      const { publicKey } = createKey("user");
      const caveats = { weight };
      const { grant } = await person.call("auth.grant", { holder, publicKey, calls: ["model.generate"], caveats });
      return { principal: grant.app, grant: grant.id, revision: grant.revision };
    },
    async reload(): Promise<void> {
      await running.client.call("device.unload", { model: MODEL });
      await running.load();
    },
  };
}
