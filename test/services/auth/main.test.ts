// The real program with a real broker: what holders can do, until when, and what a kill -9 of auth leaves.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Code, isSomaError } from "../../../kernel/abi/errors.ts";
import { NatsBus } from "../../../kernel/ipc/bus.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { GrantTable } from "../../../kernel/ipc/grants.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { type Kernel, startKernel } from "../../helpers/kernel.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let kernel: Kernel;
let program: Awaited<ReturnType<Kernel["start"]>>;
let boss: Client;
let person: Client;
const wiped: string[] = [];
const buses: NatsBus[] = [];

test.before(async () => {
  world = await startWorld({ stores: true });
  kernel = await startKernel(world);
  program = await kernel.start("auth");
  boss = new Client(kernel.bus);
  person = await world.client("person");
  let table: GrantTable;
  const { server, bus } = await world.serve(
    "memory",
    {
      get: ({ key }) => (key === "slow" ? new Promise(() => {}) : { value: key, revision: 1 }),
      wipe: ({ namespace }) => {
        wiped.push(namespace);
        return { deleted: 3 };
      },
    },
    { authorize: (...args) => table.authorize(...args) },
  );
  table = new GrantTable(kernel.grants.publicKey, { running: (holder) => server.runningOf(holder) });
  table.onRevoke((holder) => server.evict(holder));
  await table.follow(bus);
});
test.after(async () => {
  for (const bus of buses) await bus.close();
  await kernel.stop();
  await world.stop();
});

async function refusal(promise: Promise<unknown>, code: Code, message: RegExp): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable("it was not refused"),
    (thrown) => thrown,
  );
  assert.ok(isSomaError(error, code), `${error}`);
  assert.match(error.message, message);
}

/** A connection with what auth gave; `closed` when the broker ended it for good. */
async function join(name: string, jwt: string, key: ReturnType<typeof createKey>) {
  const bus = await NatsBus.connect({ url: world.url, name, jwt: () => jwt, seed: key.seed });
  buses.push(bus);
  const lost = new Promise<void>((resolve) =>
    bus.on(({ type }) => (type === "lost" || type === "closed") && resolve()),
  );
  return { client: new Client(bus), bus, lost };
}

async function give(holder: string, calls: string[], more: { expiresMs?: number; caveats?: object } = {}) {
  const key = createKey("user");
  const { jwt, grant } = await person.call("auth.grant", { holder, publicKey: key.publicKey, calls, ...more });
  return { ...(await join(holder, jwt, key)), key, jwt, grant };
}

async function derive(parent: Client, holder: string, calls: string[]) {
  const key = createKey("user");
  const { jwt, grant } = await parent.call("auth.derive", { holder, publicKey: key.publicKey, calls });
  return { ...(await join(holder, jwt, key)), key, grant };
}

test("an app runs with what its manifest asks for once a person has approved it, and not before", async () => {
  const admit = (holder: string, key = createKey("user")) =>
    boss.call("auth.admit", { app: "tell", holder, publicKey: key.publicKey });
  await refusal(admit("tell-1"), "ENOENT", /no app "tell" is installed: soma app install tell/);
  const asked = { app: "tell", needs: ["memory.get", "auth.whoami"] };
  assert.equal(await person.call("auth.install", asked), { ...asked, approved: false, added: asked.needs });
  await refusal(admit("tell-1"), "EPERM", /asks for memory\.get, auth\.whoami.*soma app approve tell/);
  assert.equal(await person.call("auth.approve", { app: "tell" }), { app: "tell", calls: asked.needs });
  assert.ok((await person.call("auth.install", asked)).approved, "installed again it stays approved");
  const key = createKey("user");
  const { jwt, grant } = await admit("tell-1", key);
  assert.equal([grant.app, grant.holder, grant.ephemeral, grant.parent], ["tell", "tell-1", true, null]);
  const { client } = await join("tell-1", jwt, key);
  assert.equal(await client.call("auth.whoami", {}), { caller: "tell-1", role: "app", grant });
  assert.is((await client.call("memory.get", { key: "a" })).value, "a");
  const more = await person.call("auth.install", { ...asked, needs: [...asked.needs, "memory.put"] });
  assert.equal([more.approved, more.added], [false, ["memory.put"]]);
  await refusal(admit("tell-2"), "EPERM", /memory\.put.*soma app approve tell/);
  assert.ok((await person.call("auth.install", asked)).approved, "asking for less again needs no approval");
  const { apps } = await person.call("auth.apps", {});
  assert.equal(apps, [{ ...asked, approved: true }]);
  await refusal(
    person.call("auth.install", { app: "bad", needs: ["kernel.kill"] }),
    "EINVAL",
    /no app can hold kernel\.kill/,
  );
});

test("a denied call is EPERM at once, naming the right and the command, be it by the broker or by the service", async () => {
  const { client } = await give("tin", ["memory.get"]);
  await refusal(
    client.call("memory.put", { key: "a", value: 1 }),
    "EPERM",
    /memory\.put.*soma app grant tin --call memory\.put/,
  );
  await refusal(client.call("kernel.ps", {}), "EPERM", /kernel\.ps/);
  await refusal(
    client.call("auth.derive", { holder: "x", publicKey: "U", calls: ["memory.get"] }),
    "EPERM",
    /auth\.derive/,
  );
});

test("a child has what it was handed and no more; revoking the parent closes both and ends what runs", async () => {
  const calls = ["memory.get", "auth.derive", "auth.revoke"];
  const parent = await give("pam", calls);
  await refusal(derive(parent.client, "kid", ["memory.put"]), "EPERM", /"pam" lacks memory\.put/);
  const child = await derive(parent.client, "kid", ["memory.get", "auth.revoke"]);
  assert.equal([child.grant.app, child.grant.parent], ["pam", parent.grant.id]);
  await child.client.call("memory.get", { key: "a" });
  await refusal(child.client.call("auth.revoke", { holder: "pam" }), "EPERM", /did not give "pam" its grant/);
  const running = child.client.call("memory.get", { key: "slow" }, { ttl: 20_000 }).catch((error) => error);
  const { revoked } = await person.call("auth.revoke", { holder: "pam" });
  assert.equal(revoked, [parent.grant.id, child.grant.id]);
  await Promise.all([parent.lost, child.lost]);
  assert.ok(isSomaError(await running), "what ran has ended");
  assert.equal(kernel.revoked.slice(-2), [parent.key.publicKey, child.key.publicKey]);
  const again = join("pam", parent.jwt, parent.key).catch((error) => error);
  assert.ok(isSomaError(await again, "EPERM"), "the broker refuses the key for ever");
  assert.equal((await person.call("auth.revoke", { holder: "pam" })).revoked, []);
});

test("an app takes back what it handed on, and its own; the rest of its family stays", async () => {
  const parent = await give("ann", ["memory.get", "auth.derive", "auth.revoke"]);
  const [kid, sib] = [
    await derive(parent.client, "kid", ["memory.get"]),
    await derive(parent.client, "sib", ["memory.get"]),
  ];
  assert.equal((await parent.client.call("auth.revoke", { holder: "kid" })).revoked, [kid.grant.id]);
  await kid.lost;
  await sib.client.call("memory.get", { key: "a" });
  // Its own connection is cut before the answer may reach it.
  await parent.client.call("auth.revoke", {}).catch((error) => assert.ok(isSomaError(error)));
  await Promise.all([parent.lost, sib.lost]);
  await refusal(person.call("auth.revoke", {}), "EINVAL", /give "holder" or "id"/);
});

test("a grant ends at its time: the broker closes the connection, and auth clears it away", async () => {
  const { client, lost, grant } = await give("brief", ["memory.get"], { expiresMs: 2_000 });
  await client.call("memory.get", { key: "a" });
  await lost;
  assert.ok(Date.now() >= grant.expiresAt! - 1_000);
  await refusal(person.call("auth.reserve" as never, {} as never), "EPERM", /auth\.reserve/);
});

test("the person's own key cannot be cut off by handing it on as that of a child, nor another holder's", async () => {
  const parent = await give("eve", ["memory.get", "auth.derive", "auth.revoke"]);
  const { key } = await give("bob", ["memory.get"]);
  const steal = parent.client.call("auth.derive", { holder: "kit", publicKey: key.publicKey, calls: ["memory.get"] });
  await refusal(steal, "EEXIST", /in use by "bob"/);
});

test("while the kernel is away a revocation is obeyed and answered, and the broker is told later, even after a kill", async () => {
  await kernel.stopServing();
  const { grant, client, key, bus } = await give("late", ["memory.get"]);
  const { revoked } = await person.call("auth.revoke", { holder: "late" }, { ttl: 10_000 });
  assert.equal(revoked, [grant.id]);
  await refusal(client.call("memory.get", { key: "a" }), "EPERM", /was revoked.*soma app grant late/);
  assert.ok(bus.connected);
  await kernel.serveAgain();
  await kernel.kill("auth", program);
  program = await kernel.start("auth");
  while (!kernel.revoked.includes(key.publicKey)) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal((await person.call("auth.stat", {})).figures.grants !== undefined, true);
});

test("of 50 that reserve while auth is killed no two have the same tokens, before and after together", async () => {
  await give("rich", ["memory.get"], { caveats: { tokens: { amount: 1_000, windowMs: 24 * 3600_000 } } });
  const scheduler = await world.client("scheduler-1");
  let leases = 0;
  const reserve = () =>
    scheduler.call("auth.reserve", { holder: "rich", lease: `l${leases++}`, tokens: 30 }, { retry: false });
  const first = Promise.allSettled(Array.from({ length: 25 }, reserve));
  const second = Promise.allSettled(
    Array.from({ length: 25 }, async (_, i) => {
      for (let turn = 0; turn < i; turn++) await new Promise((resolve) => setImmediate(resolve));
      return reserve();
    }),
  );
  await new Promise((resolve) => setTimeout(resolve, 5));
  await kernel.kill("auth", program);
  const given = [...(await first), ...(await second)].flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  program = await kernel.start("auth");
  let total = given.reduce((sum, { tokens }) => sum + tokens, 0);
  for (;;) {
    const next = await reserve().catch((error) => error);
    if (isSomaError(next)) {
      assert.is(next.code, "EDQUOT");
      break;
    }
    total += next.tokens;
  }
  assert.ok(total <= 1_000, `${total} tokens were given of 1000`);
  if (given.length > 0) {
    await scheduler.call("auth.settle", { lease: given[0]!.lease, tokens: 0 });
    assert.is((await reserve()).tokens, given[0]!.tokens, "what is settled unused is there again");
  }
});

test("whoever has no budget is leased what it wants, and a stranger nothing", async () => {
  await give("free", ["memory.get"]);
  const scheduler = await world.client("scheduler-2");
  const reserve = (holder: string) => scheduler.call("auth.reserve", { holder, lease: "l", tokens: 5 });
  assert.equal(await reserve("free"), { lease: "", tokens: 5, deviceMs: 0, expiresMs: 0 });
  assert.is((await reserve("person")).tokens, 5);
  await scheduler.call("auth.settle", { lease: "", tokens: 5 });
  await refusal(reserve("nobody"), "EPERM", /"nobody" has no grant/);
});

test("forgetting an app revokes its runs, wipes its data and drops its record", async () => {
  await person.call("auth.install", { app: "gone", needs: ["memory.get"], approve: true });
  const key = createKey("user");
  const { jwt, grant } = await boss.call("auth.admit", { app: "gone", holder: "gone-1", publicKey: key.publicKey });
  const { lost } = await join("gone-1", jwt, key);
  assert.equal(await person.call("auth.forget", { app: "gone" }), { revoked: [grant.id], deleted: 3 });
  await lost;
  assert.equal(wiped, ["gone"]);
  assert.not((await person.call("auth.apps", {})).apps.some(({ app }) => app === "gone"));
});

test.run();
