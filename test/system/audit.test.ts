// The audit of a whole system: what a person sees, and what a kill leaves.
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Chunk } from "../../kernel/abi/syscalls.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { ps, STANDIN, System, until } from "../helpers/system.ts";

type Chain = Chunk<"kernel.verify">["chains"][number];
const REAL = fileURLToPath(new URL("../../services/auth/main.ts", import.meta.url));
let system: System;
let person: Client;

test.before(async () => {
  system = new System([
    { service: "auth", entry: REAL, core: true },
    { service: "memory", entry: STANDIN },
  ]);
  person = await system.up(["auth-1", "memory-1"]);
});
test.after(() => system.stop());

async function verify(): Promise<{ chains: Chain[]; faults: number }> {
  const stream = person.stream("kernel.verify", {});
  const chains: Chain[] = [];
  for await (const chunk of stream) chains.push(...chunk.chains);
  return { chains, faults: (await stream.result).faults };
}

test("a person's calls are in the audit, filtered as asked", async () => {
  await person.call("auth.apps", {});
  await person.call("auth.approve", { app: "nobody" }).catch(() => {});
  const records: Chunk<"kernel.audit">["records"] = [];
  await until("both calls are recorded", async () => {
    records.length = 0;
    for await (const chunk of person.stream("kernel.audit", { call: "auth", since: 0, tail: 1_000 }))
      records.push(...chunk.records);
    return records.some(({ call }) => call === "auth.approve");
  });
  const own = records.filter(({ caller }) => caller === "person").map(({ call, code }) => `${call} ${code}`);
  assert.equal(own.slice(-2), ["auth.apps OK", "auth.approve ENOENT"]);
  assert.ok(records.every(({ call }) => call?.startsWith("auth.")));
});

test("auth signs every chain, and nothing is wrong", async () => {
  await until("all chains are signed", async () => (await verify()).chains.every(({ signed }) => signed > 0), system);
  const { chains, faults } = await verify();
  assert.is(faults, 0);
  assert.equal(chains.map(({ actor, state }) => `${actor} ${state}`).sort(), [
    "auth-1 running",
    "kernel running",
    "memory-1 running",
  ]);
});

test("an epoch that ended in order is closed, one that was killed is a gap and no fault", async () => {
  await person.call("kernel.restart", { service: "memory" }, { ttl: 20_000 });
  await until("the second epoch has begun in the audit", async () =>
    (await verify()).chains.some(({ actor, epoch }) => actor === "memory-1" && epoch === 2),
  );
  const pid = (await ps(person)).find(({ id }) => id === "memory-1")!.pid!;
  process.kill(pid, "SIGKILL");
  await until("memory runs in its third epoch", async () =>
    (await ps(person)).some(({ id, epoch, state }) => id === "memory-1" && epoch === 3 && state === "ready"),
  );
  await until("the third epoch is recorded", async () =>
    (await verify()).chains.some(({ actor, epoch }) => actor === "memory-1" && epoch === 3),
  );
  const { chains, faults } = await verify();
  const memory = chains.filter(({ actor }) => actor === "memory-1").sort((a, b) => a.epoch - b.epoch);
  assert.equal(
    memory.map(({ state, findings }) => [state, findings.map(({ what }) => what)]),
    [
      ["closed", []],
      ["ended", ["gap"]],
      ["running", []],
    ],
  );
  assert.is(faults, 0);
});

test.run();
