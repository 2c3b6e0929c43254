// How soon rights end that are taken back or run out: the connection at the broker, the grant at the door of a service.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { GrantTable } from "../../kernel/ipc/grants.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Kernel, startKernel } from "../helpers/kernel.ts";
import { startWorld, type World } from "../helpers/world.ts";
import { expiries } from "./expiries.ts";
import { revocations } from "./revocations.ts";

/** The goals, ten times over: timings on a busy machine tell of a hang, no more. */
const [CUT, GRANT, EXPIRED] = [2_500, 10_000, 15_000];

let world: World;
let kernel: Kernel;
let person: Client;

test.before(async () => {
  world = await startWorld({ stores: true });
  kernel = await startKernel(world);
  await kernel.start("auth");
  person = await world.client("person");
  let table: GrantTable;
  const get = ({ key }: { key: string }) =>
    key === "slow" ? new Promise<never>(() => {}) : { value: key, revision: 1 };
  const { server, bus } = await world.serve("memory", { get }, { authorize: (...args) => table.authorize(...args) });
  table = new GrantTable(kernel.grants.publicKey);
  table.onRevoke((holder) => server.evict(holder));
  await table.follow(bus);
});
test.after(async () => {
  await kernel.stop();
  await world.stop();
});

async function give(holder: string, expiresMs?: number) {
  const key = createKey("user");
  const wish = { holder, publicKey: key.publicKey, calls: ["memory.get"], ...(expiresMs ? { expiresMs } : {}) };
  const { jwt, grant } = await person.call("auth.grant", wish);
  const bus = await NatsBus.connect({ url: world.url, name: holder, jwt: () => jwt, seed: key.seed });
  const lost = new Promise<number>((resolve) =>
    bus.on(({ type }) => (type === "lost" || type === "closed") && resolve(Date.now())),
  );
  return { bus, client: new Client(bus), grant, lost };
}

test("each of 100 clients is cut off when it is revoked, and no other is", async () => {
  const ms = (await revocations({ url: world.url, person, makeKey: () => createKey("user") }, 100)).sort(
    (a, b) => a - b,
  );
  assert.is(ms.length, 100);
  assert.ok(ms[98]! < CUT, `p99 ${ms[98]} ms`);
});

test("each of 20 credentials is cut off soon after it expires, and not long before", async () => {
  for (const late of await expiries({ url: world.url, person, makeKey: () => createKey("user") }, 20))
    assert.ok(late < EXPIRED && late > -1_000, `${late} ms after exp`);
});

test("a credential that has expired is cut off, and what runs under it ends", async () => {
  const { client, grant, lost, bus } = await give("brief", 2_000);
  const running = client.call("memory.get", { key: "slow" }, { ttl: 60_000 }).catch((error) => error);
  const late = (await lost) - grant.expiresAt!;
  assert.ok(late < EXPIRED, `${late} ms after exp`);
  assert.ok(late > -1_000, "and not long before");
  assert.ok(isSomaError(await running));
  await bus.close();
});

test("a service obeys a revocation though the connection lives, and ends what runs", async () => {
  // As if the broker could not be told: the connection stays.
  await kernel.stopServing();
  const { client, bus } = await give("late");
  const running = client.call("memory.get", { key: "slow" }, { ttl: 60_000 }).catch((error) => error);
  await client.call("memory.get", { key: "a" });
  const began = performance.now();
  const answer = person.call("auth.revoke", { holder: "late" }, { ttl: 20_000 });
  const ended = await running;
  assert.ok(isSomaError(ended, "EPERM"), String(ended));
  assert.match(ended.message, "revoked");
  assert.ok(performance.now() - began < GRANT, `${performance.now() - began} ms`);
  const next = await client.call("memory.get", { key: "a" }).catch((error) => error);
  assert.ok(isSomaError(next, "EPERM") && bus.connected, String(next));
  await kernel.serveAgain();
  await answer;
  await bus.close();
});

test.run();
