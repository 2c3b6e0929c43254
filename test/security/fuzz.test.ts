// A hostile app against a whole booted system: thousands of odd subjects, names, headers and bodies, while a monitor with the kernel's rights looks on.
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../kernel/abi/codec.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import { STORAGE } from "../../kernel/broker/config.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { Kv } from "../../kernel/ipc/store.ts";
import { Authority } from "../../kernel/keys/authority.ts";
import { homeAt } from "../../kernel/launcher/home.ts";
import { ps, System, until } from "../helpers/system.ts";
import { badName, body, headers, random, subject, value } from "./fuzz.ts";
import { mayPublish, type Who } from "./policy.ts";

const SEED = Number(process.env.SOMA_SEED ?? 20261124);
/** All of these only read, but for `derive`, which is tried with names alone that nobody may have. */
const GRANTED = ["memory.get", "memory.keys", "model.list", "model.show", "kernel.info", "auth.whoami", "auth.derive"];
const MALLORY: Who = { role: "app", name: "mallory", granted: GRANTED };
const NAMES = ["mallory", "victim", "kernel", "person", "auth-1", "memory-1", "model-1"];
const KEPT = ["grants", "apps", "data", "models", "jobs"] as const;

let system: System;
let person: Client;
let monitor: NatsBus;
let mallory: NatsBus;
let victim: Client;
let before: unknown;
let sent = 0;
/** Hash of what the victim uploads: the only thing that is written. */
let uploaded = "";
/** Marked bodies that the broker carried, by subject; messages at places where mallory aimed replies; writes to stores. */
const carried = new Set<string>();
const stray: string[] = [];
const writes: string[] = [];
/** Reply subject -> final replies. */
const finals = new Map<string, number>();

async function join(name: string, calls: string[]): Promise<NatsBus> {
  const key = createKey("user");
  const { jwt } = await person.call("auth.grant", { holder: name, publicKey: key.publicKey, calls });
  const url = monitor.nc.getServer();
  return NatsBus.connect({ url, name, jwt: () => jwt, seed: key.seed });
}

/** What must not change: who runs in which epoch, and all that is kept. */
async function snapshot() {
  const rows = (await ps(person)).map(({ id, pid, epoch, restarts }) => ({ id, pid, epoch, restarts }));
  const kept: Record<string, string[]> = {};
  for (const store of KEPT)
    kept[store] = (await (await Kv.open(monitor, store)).entries()).map(({ key, revision }) => `${key}@${revision}`);
  return { rows, kept };
}

test.before(async () => {
  system = new System();
  person = await system.up(SERVICES.map((service) => `${service}-1`));
  const trust = new Authority(homeAt(system.home).keys, { storage: STORAGE });
  const key = createKey("user");
  const jwt = trust.mintActor({ name: "kernel", publicKey: key.publicKey, permissions: { pub: {}, sub: {} } });
  const url = (person.bus as NatsBus).nc.getServer();
  monitor = await NatsBus.connect({ url: `nats://${url}`, name: "kernel", jwt: () => jwt, seed: key.seed });
  victim = new Client(await join("victim", ["memory.put", "memory.get", "memory.write", "memory.read"]));
  await victim.call("memory.put", { key: "secret", value: "mine" });
  mallory = await join("mallory", GRANTED);
  mallory.subscribe("_INBOX.mallory.f.*", ({ subject, header }) => {
    if (["end", "error"].includes(header(HEADERS.type))) finals.set(subject, (finals.get(subject) ?? 0) + 1);
  });
  before = await snapshot();
  monitor.nc.subscribe(">", {
    callback: (_, { subject, data, headers }) => {
      if (/foreign/.test(subject)) stray.push(`${subject} ${headers?.get("type")}`);
      if (new RegExp(`^\\$(KV\\.(${KEPT.join("|")})|O)\\.|^job\\.submit`).test(subject)) writes.push(subject);
      if (data.length > 5 && data[0] === 0x23 && data[1] === 0x7e) carried.add(Buffer.from(data).toString());
    },
  });
  await monitor.flush();
});
test.after(async () => {
  for (const bus of [mallory, victim.bus, monitor]) await bus.close();
  await system.stop();
  rmSync(system.home, { recursive: true, force: true });
});

/** Sends one with a reply to mallory's own inbox, unless told another. */
function send(
  to: string,
  data: Uint8Array,
  more: Record<string, string> = {},
  reply = `_INBOX.mallory.f.${sent}`,
): string {
  mallory.publish(to, data, { [HEADERS.id]: `f${sent}`, ...more }, reply);
  sent += 1;
  return reply;
}
const anyCall = (r: ReturnType<typeof random>) => `sys.mallory.${r.pick(GRANTED.slice(0, -1)).replace(".", ".any.")}`;
/** Waits for what is on its way, so that doors are not merely full. */
const pause = async (i: number) => i % 40 === 39 && (await mallory.flush());

test("6,000 subjects: the broker carries those of its grant only", async () => {
  const r = random(SEED);
  const tried = new Map<string, string>();
  for (let i = 0; i < 6_000; i++) {
    const to = subject(r, NAMES);
    const mark = `#~${i}`.padEnd(8, "~");
    tried.set(mark, to);
    mallory.publish(to, Buffer.from(mark));
    sent += 1;
    await pause(i);
  }
  await mallory.flush();
  await monitor.flush();
  const wrong = [...tried].filter(([mark, to]) => carried.has(mark) && !mayPublish(MALLORY, to));
  assert.equal(wrong, []);
  assert.ok(carried.size > 5, `only ${carried.size} were carried at all: the test looks at too little`);
});

test("4,000 bodies and headers: each gets one answer at most, and acts for nobody else", async () => {
  const r = random(SEED + 1);
  const asked: string[] = [];
  for (let i = 0; i < 4_000; i++) {
    const odd = r.below(2) === 0;
    asked.push(send(anyCall(r), body(r), odd ? headers(r, { [HEADERS.id]: `h${i}`, [HEADERS.ttl]: "5000" }) : {}));
    await pause(i);
  }
  // The fence, at each door.
  const owners = [...new Set(GRANTED.map((name) => name.split(".")[0]!))];
  const fences = owners.map((owner) => send(`sys.mallory.${owner}.any.cancel`, encode({ id: "none" })));
  await until("every door answers the fence", () => fences.every((fence) => finals.has(fence)), system);
  assert.equal(
    [...finals].filter(([, count]) => count > 1),
    [],
  );
  const answered = asked.filter((reply) => finals.has(reply)).length;
  assert.ok(answered > 3_000, `${answered} were answered`);
});

test("2,000 replies aimed elsewhere: nothing arrives there", async () => {
  const r = random(SEED + 2);
  const places = [
    "_INBOX.victim.foreign",
    "_INBOX.mallory2.foreign",
    "sys.victim.memory.any.foreign",
    "evt.kernel.down.foreign.x.1",
    "hb.foreign",
    "$KV.grants.foreign",
    "_INBOX.mallory.foreign.",
    "audit.foreign.1",
  ];
  for (let i = 0; i < 2_000; i++) {
    send(
      anyCall(r),
      r.below(2) ? encode({}) : body(r),
      r.below(2) ? headers(r, { [HEADERS.id]: `r${i}` }) : {},
      r.pick(places),
    );
    await pause(i);
  }
  await mallory.flush();
  await monitor.flush();
  assert.equal(stray, []);
});

test("1,500 controls of somebody else's upload: it ends whole", async () => {
  const r = random(SEED + 3);
  const data = [Buffer.from("mine, "), Buffer.from("all mine")];
  let attacked = () => {};
  const over = new Promise<void>((resolve) => (attacked = resolve));
  const upload = victim.stream("memory.write", { size: 14 });
  await upload.accepted;
  const done = upload.upload(
    (async function* () {
      yield data[0]!;
      await over;
      yield data[1]!;
    })(),
  );
  const ids = [upload.id, `victim/${upload.id}`, `../victim/${upload.id}`, "*", "__proto__", ""];
  for (let i = 0; i < 1_500; i++) {
    const verb = r.pick(["cancel", "credit", "chunk"]);
    const piece = {
      id: r.pick(ids),
      read: r.pick([-1, 0, 2 ** 40]),
      seq: r.below(4),
      data: r.bytes(8),
      last: r.below(2) === 0,
    };
    const input = r.below(3) ? piece : { ...piece, [r.pick(["id", "seq", "data", "read"])]: value(r) };
    send(`sys.mallory.memory.${r.pick(["any", "all", "memory-1"])}.${verb}`, encode(input));
    await pause(i);
  }
  await mallory.flush();
  attacked();
  await done;
  const { blob } = await upload.result;
  uploaded = blob.slice("blob:".length);
  assert.is(blob, `blob:${createHash("sha256").update(Buffer.concat(data)).digest("hex")}`);
});

test("1,000 names and wishes that nobody may have: no grant comes of them", async () => {
  const r = random(SEED + 4);
  for (let i = 0; i < 1_000; i++) {
    const wish = {
      holder: badName(r),
      publicKey: createKeyOf(r),
      calls: [r.pick(GRANTED)],
      caveats: {},
      ...(r.below(2) ? { expiresMs: r.pick([-1, 0, 1, 2 ** 60]) } : {}),
    };
    // A good name, and more than mallory has.
    const greedy = {
      ...wish,
      holder: `kid-${i}`,
      calls: [r.pick(["memory.put", "model.generate", "kernel.shutdown", "auth.*", "*.*", "memory.get "])],
    };
    send("sys.mallory.auth.any.derive", encode(r.below(2) ? wish : greedy));
    await pause(i);
  }
  const fence = send("sys.mallory.auth.any.whoami", encode({}));
  await until("auth has seen them all", () => finals.has(fence), system);
});

const keys = Array.from({ length: 8 }, () => createKey("user").publicKey);
const createKeyOf = (r: ReturnType<typeof random>) =>
  r.pick([...keys, ...keys, "U", "", createKey("account").publicKey]);

test("after more than 10,000 of these nothing was stored, granted, started or restarted, and all work on", async () => {
  assert.ok(sent > 10_000, `${sent}`);
  const own = (one: string) => one.includes(`_blob.${uploaded}`) || one.startsWith("$O.blobs.");
  // Before the snapshot: the monitor hears what it reads itself.
  assert.equal(
    writes.filter((one) => !own(one)),
    [],
  );
  const { rows, kept } = await snapshot();
  for (const store of KEPT) kept[store] = kept[store]!.filter((one) => !own(one));
  assert.equal({ rows, kept }, before);
  assert.equal((await victim.call("memory.get", { key: "secret" })).value, "mine");
  const { caller } = await new Client(mallory).call("auth.whoami", {});
  assert.is(caller, "mallory");
});

test.run();
