// The three known holes of scoped credentials, each by its name: a user named `*`, a reply aimed at another subject, an inbox template that never expands.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../kernel/abi/codec.ts";
import { isSomaError } from "../../kernel/abi/errors.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { APP_ROLE, appTags } from "../../kernel/abi/rights.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { GrantTable } from "../../kernel/ipc/grants.ts";
import { mint } from "../../kernel/ipc/jwt.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { type Kernel, startKernel } from "../helpers/kernel.ts";
import { startWorld, type World } from "../helpers/world.ts";

const CALLS = ["memory.get"];
/** Who else has an inbox: the system's own, of which no user of an app's role may hear, and another app. */
const SYSTEM = ["kernel", "person", "auth-1", "memory-1", "device-1"];

let world: World;
let kernel: Kernel;
let person: Client;
/** The kernel's rights: sees all that the broker carries. */
let monitor: NatsBus;
/** Callers whose request reached the handler. */
const reached: string[] = [];
/** Closed at the end even where a test fails, or the process would stay. */
const buses: NatsBus[] = [];

test.before(async () => {
  world = await startWorld({ stores: true });
  kernel = await startKernel(world);
  await kernel.start("auth");
  person = await world.client("person");
  monitor = await world.connect("kernel");
  const get = (_: unknown, { caller }: { caller: string }) => {
    reached.push(caller);
    return { value: 1, revision: 1 };
  };
  const table = new GrantTable(kernel.grants.publicKey);
  const { bus } = await world.serve("memory", { get }, { authorize: (...args) => table.authorize(...args) });
  await table.follow(bus);
});
test.after(async () => {
  for (const bus of buses) await bus.close();
  await kernel.stop();
  await world.stop();
});

async function join(name: string, jwt: string, seed: string): Promise<NatsBus> {
  const bus = await NatsBus.connect({ url: world.url, name, jwt: () => jwt, seed });
  buses.push(bus);
  return bus;
}

/** An app as auth grants it. */
async function app(holder: string): Promise<NatsBus> {
  const key = createKey("user");
  const { jwt } = await person.call("auth.grant", { holder, publicKey: key.publicKey, calls: CALLS });
  return join(holder, jwt, key.seed);
}

/** A user that auth never minted: by hand, with its signing key. */
async function forged(name: string): Promise<NatsBus> {
  const key = createKey("user");
  const nats = { issuer_account: world.authority.account, tags: appTags(CALLS) };
  const claims = { name, sub: key.publicKey, iat: Math.floor(Date.now() / 1000), nats };
  const jwt = mint("user", claims, world.authority.role("app", APP_ROLE));
  return join("thief", jwt, key.seed);
}

/** What the broker refuses of an act, in the order that it says so. */
async function refused(bus: NatsBus, act: () => void): Promise<string[]> {
  const denied: string[] = [];
  const forget = bus.on((event) => event.type === "denied" && denied.push(event.subject));
  act();
  await bus.flush();
  await bus.flush();
  forget();
  return denied;
}

/** Says something to each inbox; gives those that `bus` hears on what it listens to. */
async function overheard(bus: NatsBus, listen: readonly string[], inboxes: readonly string[]): Promise<string[]> {
  const heard = new Set<string>();
  for (const subject of listen) bus.subscribe(subject, (message) => heard.add(message.subject));
  await bus.flush();
  for (const name of inboxes) monitor.publish(`${subjects.inbox(name)}.x.y`, Buffer.from("secret"));
  await monitor.flush();
  await bus.flush();
  return [...heard].map((subject) => subject.split(".")[1]!);
}

test("hole 1, a user named *: neither auth nor the kernel mints it, or any name that is no plain word", async () => {
  for (const name of ["*", ">", "a.*", "_INBOX", "a b", "{{name()}}"]) {
    const key = createKey("user").publicKey;
    const wish = { holder: name, publicKey: key, calls: CALLS };
    const error = await person.call("auth.grant", wish).catch((thrown) => thrown);
    assert.ok(isSomaError(error, "EINVAL"), `auth.grant ${name}: ${JSON.stringify(error)}`);
    for (const make of ["mintUser", "mintActor"] as const)
      assert.throws(
        () => world.authority[make]({ name, publicKey: key, permissions: { pub: {}, sub: {} } }),
        (thrown: unknown) => isSomaError(thrown, "EINVAL"),
        `${make} ${name}`,
      );
  }
});

test("hole 1, a user named *, minted by hand: it hears no inbox of the system and has no call done in any name", async () => {
  const bus = await forged("*");
  const wide = ["_INBOX.>", "_INBOX.*.>", "_INBOX.*.*.*", ...SYSTEM.map((name) => `${subjects.inbox(name)}.>`)];
  assert.equal(await overheard(bus, wide, SYSTEM), []);
  const names = ["tin", "*", ...SYSTEM];
  const said = names.map((name) => subjects.call(name, "memory", "any", "get"));
  await refused(bus, () => {
    for (const [i, subject] of said.entries())
      bus.publish(subject, encode({ key: "a" }), { [HEADERS.id]: `s${i}` }, `_INBOX.${names[i]}.s.${i}`);
  });
  await monitor.flush();
  // The fence: one that may, whose request comes after all of those.
  const good = await app("fence");
  await new Client(good).call("memory.get", { key: "a" });
  assert.equal(reached.splice(0), ["fence"]);
});

test("hole 2, a reply aimed at another subject: the service answers nothing there, and does nothing", async () => {
  const bus = await app("aimer");
  const places = [
    "_INBOX.person.stray",
    "_INBOX.aimer2.stray",
    "_INBOX.aimer.",
    "_INBOX.aimer",
    "sys.person.kernel.any.shutdown",
    "evt.kernel.down.memory.memory-1.1",
    "hb.memory.memory-1.1",
    "$KV.grants.aimer",
    "$JS.API.STREAM.PURGE.KV_grants",
  ];
  const carried: string[] = [];
  const watching = monitor.nc.subscribe(">", {
    callback: (_, { subject }) => void (places.includes(subject) && carried.push(subject)),
  });
  await monitor.flush();
  const answers: string[] = [];
  let last = () => {};
  const answered = new Promise<void>((resolve) => (last = resolve));
  bus.subscribe("_INBOX.aimer.own", ({ header }) => {
    answers.push(header(HEADERS.type));
    last();
  });
  const ask = (reply: string, i: number) =>
    bus.publish("sys.aimer.memory.memory-1.get", encode({ key: "a" }), { [HEADERS.id]: `r${i}` }, reply);
  // The last one is right, and answered after all others would have been.
  assert.equal(await refused(bus, () => [...places, "_INBOX.aimer.own"].forEach(ask)), [], "the broker cannot tell");
  await answered;
  await monitor.flush();
  watching.unsubscribe();
  assert.equal([answers, carried, reached.splice(0)], [["end"], [], ["aimer"]]);
});

test("hole 3, an inbox template that never expands: an app hears its own inbox, and nobody else's", async () => {
  const [one, other] = [await app("one"), await app("other")];
  const inboxes = ["one", "other", "{{name()}}", "*", ...SYSTEM];
  assert.equal(await overheard(one, ["_INBOX.one.>"], inboxes), ["one"]);
  const wide = inboxes.slice(1).map((name) => `${subjects.inbox(name)}.>`);
  const all = [...wide, "_INBOX.>", "_INBOX.one", "_INBOX.one*.>", "_INBOX.{{name()}}.>", ">"];
  const denied = await refused(one, () => {
    for (const subject of all) one.subscribe(subject, () => assert.unreachable(subject));
  });
  assert.equal(new Set(denied), new Set(all));
  assert.equal(await overheard(other, ["_INBOX.other.>"], inboxes), ["other"]);
});

test("hole 3, an inbox template that never expands: a name that is a template itself opens no other inbox", async () => {
  for (const name of ["{{name()}}", "{{tag(memory)}}", "", "a.b", ">"]) {
    // The broker may turn such a user away altogether: then it hears nothing for certain.
    const bus = await forged(name).catch(() => undefined);
    if (bus === undefined) continue;
    const heard = await overheard(bus, ["_INBOX.one.>", "_INBOX.*.>", "_INBOX.>", "_INBOX.get.>"], ["one", ...SYSTEM]);
    assert.equal(heard, [], JSON.stringify(name));
  }
});

test.run();
