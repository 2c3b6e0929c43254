import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Code, SomaError } from "../../../kernel/abi/errors.ts";
import { appPermissions, servicePermissions } from "../../../kernel/abi/rights.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { type Grant, GrantTable, type SignedGrant } from "../../../kernel/ipc/grants.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { Kv } from "../../../kernel/ipc/store.ts";
import { startWorld, type World } from "../../helpers/world.ts";

const KEY = createKey("account");
const START = 1_000_000;

function grantOf(change: Partial<Grant> = {}): Grant {
  return {
    id: "g1",
    parent: null,
    app: "tin",
    holder: "tin",
    publicKey: "U",
    calls: ["model.generate", "model.train", "memory.get"],
    caveats: {},
    revision: 1,
    issuedAt: START,
    expiresAt: null,
    depth: 3,
    ephemeral: false,
    ...change,
  };
}

function sign(grant: Grant, key = KEY): SignedGrant {
  const body = JSON.stringify(grant);
  return { body, signature: key.sign(Buffer.from(body)).toString("base64url") };
}

function tableWith(change: Partial<Grant>, options: { running?: () => number; now?: () => number } = {}): GrantTable {
  const table = new GrantTable(KEY.publicKey, { now: () => START, ...options });
  const grant = grantOf(change);
  table.apply(grant.holder, sign(grant));
  return table;
}

/** Returns after how many ms it says to try again. */
function refusal(work: () => unknown, code: Code, message: RegExp): number | undefined {
  try {
    work();
  } catch (error) {
    assert.is((error as SomaError).code, code);
    assert.match((error as Error).message, message);
    return (error as SomaError).retryAfterMs;
  }
  assert.unreachable(`it was not refused with ${code}`);
}

test("a call of the grant passes, and the work is done for the app under its grant", () => {
  const principal = tableWith({ holder: "tin-2" }).authorize("tin-2", "memory.get", { key: "a" });
  assert.equal(principal, { principal: "tin", grant: "g1", revision: 1 });
});

test("a refusal names the missing right and the command that grants it", () => {
  const fix = /soma app grant tin --call memory\.put/;
  refusal(() => tableWith({}).authorize("tin", "memory.put", {}), "EPERM", fix);
  refusal(() => new GrantTable(KEY.publicKey).authorize("tin", "memory.put", {}), "EPERM", fix);
  refusal(() => tableWith({}).authorize("tin", "memory.put", {}), "EPERM", /lacks the right memory\.put/);
  const run = tableWith({ ephemeral: true, holder: "tin-7" });
  refusal(
    () => run.authorize("tin-7", "memory.put", {}),
    "EPERM",
    /"needs" in the app\.json of tin, .*app approve tin/,
  );
});

test("records that auth did not sign count as none and are counted", () => {
  const table = new GrantTable(KEY.publicKey, { now: () => START });
  table.apply("tin", sign(grantOf(), createKey("account")));
  table.apply("tin", { ...sign(grantOf()), body: JSON.stringify(grantOf({ calls: ["memory.put"] })) });
  table.apply("tin", sign(grantOf({ holder: "tom" })));
  table.apply("tin", "nonsense");
  assert.is(table.size, 0);
  assert.is(table.forged, 4);
  const keyless = new GrantTable(undefined);
  keyless.apply("tin", sign(grantOf()));
  assert.is(keyless.size, 0);
});

test("a forged record in the place of a good one takes the right away rather than keep it", () => {
  const table = tableWith({});
  table.apply("tin", sign(grantOf({ calls: ["memory.put"] }), createKey("account")));
  refusal(() => table.authorize("tin", "memory.get", {}), "EPERM", /was revoked/);
});

test("the caveat on models allows versions of a named model and no alias that is not named", () => {
  const table = tableWith({ caveats: { models: ["tiny"] } });
  table.authorize("tin", "model.generate", { model: "tiny" });
  table.authorize("tin", "model.generate", { model: "tiny@3" });
  table.authorize("tin", "model.train", { name: "tiny" });
  table.authorize("tin", "memory.get", { key: "a" });
  refusal(
    () => table.authorize("tin", "model.generate", { model: "default" }),
    "EPERM",
    /may use tiny.*--model default/,
  );
  refusal(() => table.authorize("tin", "model.train", { name: "big" }), "EPERM", /model "big"/);
  const pinned = tableWith({ caveats: { models: ["tiny@3"] } });
  pinned.authorize("tin", "model.generate", { model: "tiny@3" });
  refusal(() => pinned.authorize("tin", "model.generate", { model: "tiny@4" }), "EPERM", /may use tiny@3/);
});

test("the caveat on tokens bounds what is asked for and fills in what is not", () => {
  const table = tableWith({ caveats: { maxTokens: 10 } });
  const input: { model: string; maxTokens?: number } = { model: "tiny" };
  table.authorize("tin", "model.generate", input);
  assert.is(input.maxTokens, 10);
  refusal(() => table.authorize("tin", "model.generate", { maxTokens: 11 }), "EPERM", /10 tokens a call, not 11/);
  const other = { key: "a" };
  table.authorize("tin", "memory.get", other);
  assert.equal(other, { key: "a" });
});

test("the caveat on concurrency is EBUSY while enough requests run, those of children included", () => {
  const running: Record<string, number> = { tin: 1, child: 0, other: 9 };
  const table = new GrantTable(KEY.publicKey, {
    now: () => START,
    running: (holder) => running[holder]!,
    soonest: (holders) => (String([...holders]) === "tin,child" ? 40 : 1),
  });
  table.apply("tin", sign(grantOf({ caveats: { concurrency: 2 } })));
  table.apply("child", sign(grantOf({ id: "g2", parent: "g1", holder: "child", caveats: { concurrency: 2 } })));
  table.apply("other", sign(grantOf({ id: "g3", holder: "other" })));
  table.authorize("tin", "memory.get", {});
  table.authorize("child", "memory.get", {});
  running.child = 1;
  for (const holder of ["tin", "child"])
    assert.is(
      refusal(() => table.authorize(holder, "memory.get", {}), "EBUSY", /2 requests run under the grant of "tin"/),
      40,
      "when the first of those that run under it is expected to be over",
    );
  table.authorize("other", "memory.get", {});
});

test("an expired grant is refused at once, and its holder is told of when its time comes", async () => {
  let now = START;
  const table = tableWith({ expiresAt: START + 20 }, { now: () => now });
  const gone = new Promise((resolve) => table.onRevoke(resolve));
  table.authorize("tin", "memory.get", {});
  now += 20;
  refusal(
    () => table.authorize("tin", "memory.get", {}),
    "EPERM",
    /has expired.*soma app grant tin --call memory\.get/,
  );
  assert.is(await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 5_000))]), "tin");
  refusal(() => table.authorize("tin", "memory.get", {}), "EPERM", /has expired/);
});

test("whoever is revoked or given another grant is told of once, whoever is merely renewed is not", () => {
  const table = tableWith({});
  const gone: string[] = [];
  table.onRevoke((holder) => gone.push(holder));
  table.apply("tin", sign(grantOf({ revision: 2 })));
  assert.equal(gone, []);
  table.apply("tin", sign(grantOf({ id: "g2", revision: 3 })));
  assert.equal(gone, ["tin"]);
  table.authorize("tin", "memory.get", {});
  table.apply("tin", undefined);
  table.apply("tin", undefined);
  assert.equal(gone, ["tin", "tin"]);
  refusal(() => table.authorize("tin", "memory.get", {}), "EPERM", /was revoked/);
});

let world: World;
test.before(async () => {
  world = await startWorld({ stores: true });
});
test.after(() => world.stop());

/** Waits until `holds` does; the runner's own limit is the only clock. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("a service knows the grants there are and obeys a revocation, which ends what runs", async () => {
  const auth = await world.connect("auth-1", servicePermissions("auth", "auth-1", 1));
  const kv = await Kv.open<SignedGrant>(auth, "grants");
  await kv.put("tin", sign(grantOf({ calls: ["memory.get"] })));
  let table: GrantTable;
  const { server, bus } = await world.serve(
    "memory",
    { get: () => new Promise(() => {}) },
    { authorize: (...args) => table.authorize(...args) },
  );
  table = new GrantTable(KEY.publicKey, { running: (holder) => server.runningOf(holder) });
  table.onRevoke((holder) => server.evict(holder));
  const stop = await table.follow(bus);
  assert.is(table.find("tin")?.id, "g1", "what was there before is known once follow resolves");
  const app = new Client(await world.connect("tin", appPermissions("tin", ["memory.get"])));
  const running = app.call("memory.get", { key: "a" }).catch((error: SomaError) => error);
  await until(() => server.inflight === 1);
  assert.ok(server.soonest(new Set(["tin"]))! > 0);
  assert.is(server.soonest(new Set(["other"])), undefined);
  await kv.del("tin");
  const ended = await running;
  assert.is((ended as SomaError).code, "EPERM");
  assert.match((ended as SomaError).message, "was revoked");
  const refused = await app.call("memory.get", { key: "a" }).catch((error: SomaError) => error);
  assert.match((refused as SomaError).message, "soma app grant tin --call memory.get");
  stop();
});

test("a revocation is obeyed by a service that follows across a restart of the broker", async () => {
  const auth = await world.connect("auth-2", servicePermissions("auth", "auth-2", 1));
  const model = await world.connect("model-2", servicePermissions("model", "model-2", 1));
  const kv = await Kv.open<SignedGrant>(auth, "grants");
  await kv.put("tom", sign(grantOf({ holder: "tom" })));
  const table = new GrantTable(KEY.publicKey);
  const stop = await table.follow(model);
  assert.ok(table.find("tom"));
  await world.restartBroker(100);
  await until(() => auth.connected && model.connected);
  await kv.del("tom");
  await until(() => table.find("tom") === undefined);
  await kv.put("tim", sign(grantOf({ holder: "tim" })));
  await until(() => table.find("tim") !== undefined);
  stop();
});

test.run();
