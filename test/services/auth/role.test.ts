// What somebody who stole auth's signing key could do at the broker: mint any name with any tags, and still be an app only.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { NAME } from "../../../kernel/abi/limits.ts";
import { checkAppName } from "../../../kernel/abi/names.ts";
import { APP_ROLE, appPermissions, appTags } from "../../../kernel/abi/rights.ts";
import { subjects } from "../../../kernel/abi/subjects.ts";
import { isGrantable } from "../../../kernel/abi/syscall.ts";
import { allSyscalls } from "../../../kernel/abi/syscalls.ts";
import { ask } from "../../../kernel/ipc/ask.ts";
import { NatsBus } from "../../../kernel/ipc/bus.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { GrantTable } from "../../../kernel/ipc/grants.ts";
import { mint } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { startWorld, type World } from "../../helpers/world.ts";

let world: World;
let signer: ReturnType<typeof createKey>;
test.before(async () => {
  world = await startWorld();
  signer = world.authority.role("app", APP_ROLE);
  const { name, jwt, key } = world.authority.systemUser();
  const { seed } = key;
  const system = await NatsBus.connect({ url: world.url, name, jwt: () => jwt, seed });
  await world.authority.push((subject, body) => ask(system, subject, body));
  await system.close();
});
test.after(() => world.stop());

async function steal(name: string, tags: string[]): Promise<NatsBus> {
  const key = createKey("user");
  const nats = { issuer_account: world.authority.account, tags };
  const jwt = mint("user", { name, sub: key.publicKey, iat: Math.floor(Date.now() / 1000), nats }, signer);
  const { seed } = key;
  return NatsBus.connect({ url: world.url, name: NAME.test(name) ? name : "thief", jwt: () => jwt, seed });
}

/** Those of the subjects that the broker refuses to `bus`. */
async function refused(bus: NatsBus, operation: "publish" | "subscription", all: string[]): Promise<string[]> {
  const denied = new Set<string>();
  const forget = bus.on(
    (event) => event.type === "denied" && event.operation === operation && denied.add(event.subject),
  );
  for (const subject of all) {
    if (operation === "publish") bus.publish(subject, new Uint8Array(0));
    else bus.subscribe(subject, () => {});
  }
  await bus.flush();
  await bus.flush();
  forget();
  return all.filter((subject) => denied.has(subject));
}

const every = (name: string) => allSyscalls().map(([owner, call]) => subjects.call(name, owner, "any", call));
const WILD = ["kernel", "auth", "memory", "device", "model", "scheduler"].flatMap((owner) => [
  `${owner}:*`,
  `${owner}:>`,
]);

test("tags give an app exactly the calls of its grant and control of its own requests", async () => {
  const calls = ["model.generate", "memory.get", "kernel.info"];
  const bus = await steal("tin", appTags(calls));
  const allowed = new Set(appPermissions("tin", calls).pub.map((subject) => subject.replace("*", "any")));
  assert.equal(
    await refused(bus, "publish", every("tin")),
    every("tin").filter((subject) => !allowed.has(subject)),
  );
  await bus.close();
});

test("tags with wildcards give every call that apps can hold, and no other", async () => {
  const bus = await steal("tin", WILD);
  const never = allSyscalls()
    .filter(([, , { right }]) => !isGrantable(right))
    .map(([owner, call]) => subjects.call("tin", owner, "any", call));
  const denied = await refused(bus, "publish", [
    ...every("tin"),
    "sys.tom.model.any.generate",
    "evt.tin.log",
    "hb.a.b.1",
  ]);
  for (const subject of never) assert.ok(denied.includes(subject), subject);
  for (const subject of ["sys.tom.model.any.generate", "evt.tin.log", "hb.a.b.1"]) assert.ok(denied.includes(subject));
  assert.not(denied.includes("sys.tin.model.any.generate"));
  await bus.close();
});

test("the system's own names get nothing at all, neither to say nor to hear", async () => {
  for (const name of ["kernel", "person", "auth-1", "memory-1", "device-3", "scheduler-1", "model-16"]) {
    const bus = await steal(name, WILD);
    assert.equal(await refused(bus, "publish", every(name)), every(name), name);
    const inbox = `${subjects.inbox(name)}.x.y`;
    assert.equal(await refused(bus, "subscription", [inbox]), [inbox]);
    await bus.close();
  }
});

test("even a thief named * hears nothing that is for the system's own, and says nothing in their names", async () => {
  const bus = await steal("*", WILD);
  const heard: string[] = [];
  for (const wide of ["_INBOX.*.>", "_INBOX.*.*.*"]) bus.subscribe(wide, ({ subject }) => heard.push(subject));
  assert.equal(await refused(bus, "subscription", [">", "sys.>", "_INBOX.person.x"]), [
    ">",
    "sys.>",
    "_INBOX.person.x",
  ]);
  for (const name of ["kernel", "person", "model-1"])
    assert.equal(await refused(bus, "publish", every(name)), every(name));
  const all = await world.connect("kernel");
  for (const name of ["person", "kernel", "model-1", "tin"]) all.publish(`_INBOX.${name}.x.y`, new Uint8Array(0));
  await all.flush();
  await bus.flush();
  assert.equal(
    [...new Set(heard)],
    ["_INBOX.tin.x.y"],
    "the rest of its power: what the broker cannot bound, auth's name check does",
  );
  await bus.close();
});

test("names that only look like the system's own are those of apps without a grant, at the door of every service", async () => {
  const reached: string[] = [];
  const grants = new GrantTable(createKey("account").publicKey);
  const get = (_: unknown, { caller }: { caller: string }) => {
    reached.push(caller);
    return { value: 1, revision: 1 };
  };
  await world.serve("memory", { get }, { authorize: (...args) => grants.authorize(...args) });
  for (const name of ["device-17", "device-99", "device-017", "auth-1000", "person-eve", "model-0"]) {
    const bus = await steal(name, WILD);
    const client = new Client(bus);
    for (const options of [{}, { for: { principal: "victim" } }]) {
      const error = await client.call("memory.get", { key: "a" }, options).catch((thrown) => thrown);
      assert.ok(isSomaError(error, "EPERM"), `${name}: ${JSON.stringify(error)}`);
    }
    assert.throws(
      () => checkAppName(name),
      (error: unknown) => isSomaError(error, "EINVAL"),
    );
    await bus.close();
  }
  assert.equal(reached, []);
});

test.run();
