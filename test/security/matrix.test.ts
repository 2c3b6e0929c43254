// Every role times every subject times every verb, tried at a real broker with real servers behind it, against policy.ts. The cells come from the contract.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../kernel/abi/codec.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import { APP_ROLE, bootPermissions, personPermissions, servicePermissions } from "../../kernel/abi/rights.ts";
import { allSyscalls, CONTROL, SYSCALLS } from "../../kernel/abi/syscalls.ts";
import { ask } from "../../kernel/ipc/ask.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { Server } from "../../kernel/ipc/server.ts";
import { minter } from "../../services/auth/mint.ts";
import { startWorld, type World } from "../helpers/world.ts";
import { within } from "../kernel/broker/harness.ts";
import { mayEnter, mayHear, mayPublish, SHOWS, type Who } from "./policy.ts";
import { callSubjects, heardSubjects, otherSubjects } from "./subjects.ts";

const EPOCH = 7;
const FEW = ["model.generate", "memory.get", "kernel.info"];
const callsFor = (...rights: string[]) =>
  allSyscalls().flatMap(([owner, call, { right }]) =>
    rights.includes(right) && !(CONTROL as readonly string[]).includes(call) ? [`${owner}.${call}`] : [],
  );
/** A holder that plays no part, so whatever reaches it is a leak. */
const VICTIM = "victim";

let world: World;
let monitor: NatsBus;
const actors: { who: Who; bus: NatsBus }[] = [];
/** Bodies that the broker carried, as the kernel's connection heard them; and subjects with VICTIM's mark that nobody may reach. */
const carried = new Set<string>();
const stray: string[] = [];
/** `caller owner.call` that reached a handler. */
const executed = new Set<string>();

function server(bus: NatsBus, owner: keyof typeof SYSCALLS, instance: string): void {
  const handlers = Object.fromEntries(
    Object.keys(SYSCALLS[owner]).map((call) => [
      call,
      (_input: unknown, { caller }: { caller: string }) => {
        executed.add(`${caller} ${owner}.${call}`);
        return {};
      },
    ]),
  );
  new Server(bus, { owner, instance, epoch: 1, handlers, crash: (error) => assert.unreachable(String(error)) }).start();
}

test.before(async () => {
  world = await startWorld({ stores: true });
  const role = world.authority.role("app", APP_ROLE);
  const { name, jwt, key } = world.authority.systemUser();
  const system = await NatsBus.connect({ url: world.url, name, jwt: () => jwt, seed: key.seed });
  await world.authority.push((subject, body) => ask(system, subject, body));
  monitor = await world.connect("kernel");
  monitor.subscribe(">", ({ subject, data }) => {
    if (/foreign/.test(subject)) stray.push(subject);
    if (data[0] === 0x23) carried.add(Buffer.from(data).toString());
  });
  server(await world.connect("kernel"), "kernel", "kernel");
  for (const service of SERVICES)
    server(
      await world.connect(`${service}-1`, servicePermissions(service, `${service}-1`, 1)),
      service,
      `${service}-1`,
    );
  // As auth mints them: the scoped key, the name and the tags.
  const mint = minter({ account: world.authority.account, appSeed: role.seed, grantSeed: createKey("account").seed });
  const app = async (holder: string, granted: readonly string[]) => {
    const own = createKey("user");
    const token = mint.jwt({
      holder,
      publicKey: own.publicKey,
      calls: [...granted],
      issuedAt: Date.now(),
      expiresAt: null,
    } as never);
    const bus = await NatsBus.connect({ url: world.url, name: holder, jwt: () => token, seed: own.seed });
    actors.push({ who: { role: "app", name: holder, granted }, bus });
  };
  await app("none", []);
  await app("few", FEW);
  await app("blind", callsFor("app"));
  await app("every", callsFor("app", "viewer"));
  for (const service of SERVICES) {
    const instance = `${service}-2`;
    const bus = await world.connect(instance, servicePermissions(service, instance, EPOCH));
    actors.push({ who: { role: "service", name: instance, service, epoch: EPOCH }, bus });
  }
  actors.push({ who: { role: "boot", name: "boot-1" }, bus: await world.connect("boot-1", bootPermissions("boot-1")) });
  actors.push({
    who: { role: "person", name: "person" },
    bus: await world.connect("person", personPermissions("person")),
  });
  actors.push({ who: { role: "system", name: "kernel-system" }, bus: system });
  // Last, for it may break everything.
  actors.push({ who: { role: "kernel", name: "kernel" }, bus: await world.connect("kernel") });
});
test.after(async () => {
  for (const { bus } of actors) await bus.close();
  await world.stop();
});

/** All that `act` had refused by the broker: the fence is refused for certain, and after all that came before it. */
async function refusals(
  { who, bus }: (typeof actors)[number],
  operation: "publish" | "subscription",
  act: () => void,
): Promise<Set<string>> {
  const denied = new Set<string>();
  let passed = () => {};
  const fence = new Promise<void>((resolve) => (passed = resolve));
  const forget = bus.on((event) => {
    if (event.type !== "denied") return;
    if (event.subject === "the.fence") passed();
    else if (event.operation === operation) denied.add(event.subject);
  });
  act();
  bus.publish("the.fence", new Uint8Array(0));
  await bus.flush();
  if (who.role !== "kernel" && who.role !== "system") await fence;
  forget();
  return denied;
}

const namesOf = ({ name }: Who) => [...new Set([name, VICTIM, "kernel", "person", "device-1", "memory-1"])];
const saidBy = (who: Who) => [...new Set([...callSubjects(namesOf(who).slice(0, 4)), ...otherSubjects(namesOf(who))])];
const heardBy = (who: Who) => [...new Set(heardSubjects(namesOf(who)))];

/** Compares cell by cell; a failure names the first few that differ. */
function same(
  who: Who,
  verb: string,
  cells: readonly string[],
  expected: (cell: string) => boolean,
  real: (cell: string) => boolean,
): void {
  const wrong = cells.filter((cell) => expected(cell) !== real(cell));
  const lines = wrong.slice(0, 10).map((cell) => `${cell} was ${real(cell) ? "allowed" : "refused"}`);
  assert.is(
    wrong.length,
    0,
    `${who.name}: ${verb}, ${wrong.length} of ${cells.length} cells are wrong: ${lines.join(", ")}`,
  );
  counted += cells.length;
}
let counted = 0;

test("publish: the broker carries what the policy allows, and refuses the rest with an error", async () => {
  for (const actor of actors) {
    const { who, bus } = actor;
    const cells = saidBy(who);
    const denied = await refusals(actor, "publish", () => {
      for (const [i, subject] of cells.entries()) bus.publish(subject, Buffer.from(`#${who.name}#${i}`));
    });
    await monitor.flush();
    const place = new Map(cells.map((subject, i) => [subject, `#${who.name}#${i}`]));
    same(
      who,
      "publish",
      cells,
      (cell) => mayPublish(who, cell),
      (cell) => carried.has(place.get(cell)!),
    );
    if (who.role !== "system")
      same(
        who,
        "publish errors",
        cells,
        (cell) => mayPublish(who, cell),
        (cell) => !denied.has(cell),
      );
  }
});

for (const [verb, queue] of [["subscribe"], ["queue subscribe", "workers"]] as const)
  test(`${verb}: the broker lets each hear what the policy allows`, async () => {
    for (const actor of actors) {
      const { who, bus } = actor;
      if (who.role === "system") continue;
      const cells = heardBy(who);
      const denied = new Set<string>();
      // The role of apps allows 64 subscriptions at a time.
      const batch = who.role === "app" ? 50 : 500;
      for (let at = 0; at < cells.length; at += batch) {
        const open: { unsubscribe(): void }[] = [];
        const some = await refusals(actor, "subscription", () => {
          for (const cell of cells.slice(at, at + batch)) open.push(bus.subscribe(cell, () => {}, queue));
        });
        for (const subject of some) denied.add(subject);
        for (const subscription of open) subscription.unsubscribe();
      }
      same(
        who,
        verb,
        cells,
        (cell) => mayHear(who, cell),
        (cell) => !denied.has(cell),
      );
    }
  });

test("what shows others is just what was judged, and an app that holds all else is refused each of it", async () => {
  assert.equal(callsFor("viewer").sort(), Object.keys(SHOWS).sort());
  const blind = actors.find(({ who }) => who.name === "blind")!;
  const seeing = Object.keys(SHOWS).map((name) => `sys.blind.${name.replace(".", ".any.")}`);
  const denied = await refusals(blind, "publish", () => {
    for (const subject of seeing) blind.bus.publish(subject, encode({}));
  });
  assert.equal([...denied].sort(), seeing.sort());
});

test("the system account hears nothing of ours, whatever it listens to", async () => {
  const { bus } = actors.find(({ who }) => who.role === "system")!;
  const heard: string[] = [];
  for (const queue of [undefined, "workers"])
    bus.subscribe(">", ({ subject, data }) => data[0] === 0x23 && heard.push(subject), queue);
  await bus.flush();
  for (const subject of saidBy({ role: "kernel", name: "kernel" }).filter((one) => !one.startsWith("$")))
    monitor.publish(subject, Buffer.from("#all"));
  await monitor.flush();
  await bus.flush();
  assert.equal(heard, []);
});

/** Where an attacker would like an answer to go. All carry the mark that the monitor looks for. */
const ELSEWHERE = [
  `_INBOX.${VICTIM}.foreign`,
  "_INBOX.foreign",
  `sys.${VICTIM}.kernel.any.foreign`,
  "sys.person.kernel.foreign.shutdown",
  "evt.kernel.down.foreign.x.1",
  "hb.model.foreign.1",
  "$KV.grants.foreign",
  "$JS.API.STREAM.PURGE.foreign",
  "audit.foreign.1",
];

test("request with a foreign reply: nobody gets an answer to any other subject than its own inbox", async () => {
  for (const actor of actors) {
    const { who, bus } = actor;
    // The root of trust may speak in any name, so any inbox is its own.
    if (who.role === "kernel") continue;
    const cells = callSubjects(namesOf(who).slice(0, 2));
    const replies = ELSEWHERE.concat(
      `_INBOX.${who.name}x.foreign`,
      `_INBOX.${who.name}.foreign.`,
      `_INBOX.${who.name}.*.foreign`,
    );
    const pairs = cells.flatMap((cell, i) =>
      mayPublish(who, cell)
        ? replies.map((reply) => [cell, reply] as const)
        : [[cell, replies[i % replies.length]!] as const],
    );
    const denied = await refusals(actor, "publish", () => {
      for (const [i, [cell, reply]] of pairs.entries()) bus.publish(cell, encode({}), { [HEADERS.id]: `f${i}` }, reply);
    });
    await monitor.flush();
    if (who.role !== "system")
      same(
        who,
        "foreign reply",
        cells,
        (cell) => mayPublish(who, cell),
        (cell) => !denied.has(cell),
      );
    counted += pairs.length - cells.length;
    assert.equal(stray, [], who.name);
  }
});

test("the door of each service lets in who may hold a call, and tells all others EPERM", async () => {
  for (const actor of actors) {
    const { who, bus } = actor;
    if (who.role === "system") continue;
    const calls = allSyscalls().map(([owner, call]) => [owner, call] as const);
    const codes = new Map<string, string>();
    let done = () => {};
    const answered = new Promise<void>((resolve) => (done = resolve));
    const open = calls.filter(([owner, call]) => mayPublish(who, `sys.${who.name}.${owner}.any.${call}`));
    if (open.length === 0) continue;
    const inbox = bus.subscribe(`_INBOX.${who.name}.door.*`, ({ subject, data, header }) => {
      if (header(HEADERS.type) === "accepted") return;
      const body = decode(data) as { code?: string };
      codes.set(subject.split(".")[3]!, header(HEADERS.type) === "end" ? "OK" : body.code!);
      if (codes.size === open.length) done();
    });
    for (const [i, [owner, call]] of open.entries())
      bus.publish(
        `sys.${who.name}.${owner}.any.${call}`,
        encode({}),
        { [HEADERS.id]: `d${i}` },
        `_INBOX.${who.name}.door.${i}`,
      );
    await within(`all answers to ${who.name}`, answered);
    inbox.unsubscribe();
    const names = open.map(([owner, call]) => `${owner}.${call}`);
    const code = (name: string) => codes.get(String(names.indexOf(name)))!;
    const enters = (name: string) => mayEnter(who, ...(name.split(".") as [string, string]));
    same(who, "enter", names, enters, (name) => code(name) !== "EPERM");
    const ran = [...executed].filter((one) => one.startsWith(`${who.name} `)).map((one) => one.split(" ")[1]!);
    assert.equal(
      ran.filter((name) => !enters(name)),
      [],
      `${who.name} had this executed`,
    );
    assert.ok(ran.length > 0 || who.role === "boot", `${who.name} had nothing executed: the test looks at nothing`);
  }
});

test("there were enough cells that the matrix means something", () => {
  console.log(`${counted} cells`);
  assert.ok(counted > 20_000, `${counted} cells`);
});

test.run();
