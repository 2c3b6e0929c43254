import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode } from "../../kernel/abi/codec.ts";
import type { Code, SomaError, WireError } from "../../kernel/abi/errors.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { ABI } from "../../kernel/abi/limits.ts";
import { SERVICES } from "../../kernel/abi/names.ts";
import { subjects } from "../../kernel/abi/subjects.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { ps, System } from "../helpers/system.ts";
import { modelFolder } from "../services/model/running.ts";

let system: System;
let client: Client;
const folder = mkdtempSync(join(tmpdir(), "soma-bad-"));

test.before(async () => {
  system = new System();
  client = await system.up();
});
test.after(async () => {
  await system.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Whatever the table says. */
const call = (name: string, input: unknown): Promise<SomaError> =>
  client.call(name as "kernel.ps", input as never, { ttl: 15_000 }).then(
    (output) => assert.unreachable(`${name} answered ${JSON.stringify(output)}`) as never,
    (error) => error,
  );
const refused = async (name: string, input: unknown, code: Code, message: string | RegExp) => {
  const error = await call(name, input);
  assert.is(error.code, code, `${name} ${JSON.stringify(input)?.slice(0, 100)}: ${error.message}`);
  assert.match(error.message, message);
};

/** Sends bytes as they are, past the client's checks; resolves with the type of the reply and its body. */
let number = 0;
function raw(owner: string, name: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<WireError> {
  const { bus } = client;
  const inbox = `${subjects.inbox(bus.name)}.raw.${++number}`;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${owner}.${name} did not answer`)), 10_000);
    const subscription = bus.subscribe(inbox, (message) => {
      if (message.header(HEADERS.type) === "accepted") return;
      subscription.unsubscribe();
      clearTimeout(timer);
      resolve({ ...(decode(message.data) as WireError) });
    });
    const all = { [HEADERS.id]: `raw${number}`, [HEADERS.abi]: String(ABI), [HEADERS.ttl]: "5000", ...headers };
    bus.publish(subjects.call(bus.name, owner, "any", name), body, all, inbox);
  });
}

const OWNERS = ["kernel", ...SERVICES] as const;

test("a call that is in no table is refused: the broker lets through what the person holds, call by call", async () => {
  for (const owner of OWNERS) await refused(`${owner}.nothing`, {}, "ENOSYS", `${owner}.nothing`);
  for (const name of ["constructor", "toString", "__proto__"]) await refused(`model.${name}`, {}, "ENOSYS", name);
});

test("a call to a service that does not exist is refused too", () => refused("nobody.ps", {}, "ENOSYS", "nobody.ps"));

test("what is no MessagePack is EINVAL from everyone", async () => {
  const bodies = [[0xc1], [0x85, 1], [0xdb, 0xff, 0xff, 0xff, 0xff], [0x81, 0xa1], [0x80, 0x80]];
  for (const owner of OWNERS) {
    for (const bytes of bodies) {
      const { code, message } = await raw(owner, "stat", Uint8Array.from(bytes));
      assert.equal([code, message], ["EINVAL", "the body is not MessagePack"], `${owner} ${bytes}`);
    }
  }
});

test("a body that is no object, and depth without end, are EINVAL", async () => {
  for (const bytes of [[0x01], [0xa3, 97, 98, 99], [0x90], [0xcb, 127, 248, 0, 0, 0, 0, 0, 0]]) {
    assert.is((await raw("model", "show", Uint8Array.from(bytes))).code, "EINVAL", String(bytes));
  }
  const deep = new Uint8Array(200_000).fill(0x91);
  deep[deep.length - 1] = 0xc0;
  for (const owner of OWNERS) assert.is((await raw(owner, "inspect", deep)).code, "EINVAL", owner);
});

test("headers that mean nothing are EINVAL, a deadline in the past is ETIME", async () => {
  const empty = new Uint8Array(0);
  assert.is((await raw("kernel", "ps", empty, { [HEADERS.id]: "a b" })).code, "EINVAL");
  assert.is((await raw("kernel", "ps", empty, { [HEADERS.id]: "" })).code, "EINVAL");
  assert.is((await raw("kernel", "ps", empty, { [HEADERS.abi]: "99" })).code, "EINVAL");
  assert.is((await raw("kernel", "ps", empty, { [HEADERS.ttl]: "-5" })).code, "ETIME");
  assert.is((await raw("kernel", "ps", empty, { [HEADERS.ttl]: "soon" })).code, "ETIME");
  assert.is((await raw("model", "list", empty, { [HEADERS.for]: '{"principal":"bob"}' })).code, "EPERM");
});

test("wrong types and missing fields name the field", async () => {
  const cases: [string, unknown, string][] = [
    ["kernel.kill", {}, "id"],
    ["kernel.kill", { id: "model-1", signal: "SIGNOTHING" }, "signal"],
    ["kernel.spawn", { app: 5 }, "app"],
    ["auth.install", { app: "fine", needs: "all" }, "needs"],
    ["auth.install", { app: "fine", needs: ["model"] }, "needs.0"],
    ["auth.grant", { holder: "bob", publicKey: createKey("user").publicKey, calls: [] }, "calls"],
    ["memory.get", {}, "key"],
    ["memory.write", { size: -1 }, "size"],
    ["memory.write", { size: 1.5 }, "size"],
    ["model.show", {}, "model"],
    ["model.show", { model: null }, "model"],
    ["model.generate", { prompt: ["a"] }, "prompt"],
    ["model.generate", { prompt: "a", sample: { temperature: "hot" } }, "sample.temperature"],
    ["model.generate", { prompt: "a", maxTokens: -1 }, "maxTokens"],
    ["model.train", { name: "tiny", data: "blob:short" }, "data"],
    ["scheduler.set", { policy: "chaos" }, "policy"],
    ["scheduler.why", {}, "id"],
  ];
  for (const [name, input, field] of cases) await refused(name, input, "EINVAL", `${name}: ${field}`);
});

test("two megabytes are E2BIG, at the caller and at the service's door", async () => {
  await refused("memory.put", { key: "k", value: "x".repeat(2 ** 21) }, "E2BIG", "memory.write");
  for (const owner of OWNERS) assert.is((await raw(owner, "stat", new Uint8Array(700_000))).code, "E2BIG", owner);
});

test("names with what means something on the bus or the disk are EINVAL", async () => {
  const publicKey = createKey("user").publicKey;
  for (const name of ["a.b", "*", ">", "a b", "", "A", "../a", "a\nb", "中", "x".repeat(33)]) {
    await refused("auth.install", { app: name, needs: [], approve: true }, "EINVAL", /name|use/);
    await refused("auth.grant", { holder: name, publicKey, calls: ["model.list"] }, "EINVAL", /name|use/);
  }
  for (const name of ["kernel", "model", "model-1", "person", "person-2", "boot-x", "any", "all", "sys"]) {
    await refused("auth.install", { app: name, needs: [], approve: true }, "EINVAL", "reserved");
    await refused("auth.grant", { holder: name, publicKey, calls: ["model.list"] }, "EINVAL", "reserved");
  }
  for (const name of ["../x", "a/b", "a b", "", "*", "a@1"]) {
    await refused("model.importDir", { dir: folder, name }, "EINVAL", "name");
  }
  const { apps, grants } = await client.call("auth.apps", {});
  assert.equal([apps, grants], [[], []], "nothing of all this was kept");
});

test("keys that are none, and rights that no app may hold, are refused", async () => {
  const grant = (publicKey: string, calls = ["model.list"]) => ({ holder: "bob", publicKey, calls });
  await refused("auth.grant", grant("UABC"), "EINVAL", "key");
  await refused("auth.grant", grant(createKey("account").publicKey), "EINVAL", "key");
  const fine = createKey("user").publicKey;
  assert.match((await call("auth.grant", grant(fine, ["nothing.at"]))).code, /EINVAL|ENOSYS/);
  assert.match((await call("auth.grant", grant(fine, ["kernel.shutdown"]))).code, /EPERM|EINVAL/);
});

test("a model, a job, a process and an app that are not there are ENOENT", async () => {
  await refused("model.show", { model: "nothing" }, "ENOENT", "nothing");
  await refused("model.show", { model: "nothing@7" }, "ENOENT", "nothing");
  await refused("model.generate", { model: "nothing", prompt: "a" }, "ENOENT", "nothing");
  await refused("model.translate", { model: "nothing", text: "a" }, "ENOENT", "nothing");
  await refused("model.deploy", { model: "nothing" }, "ENOENT", "nothing");
  await refused("model.remove", { model: "nothing@1" }, "ENOENT", "nothing");
  await refused("model.job", { job: "nothing" }, "ENOENT", "nothing");
  await refused("kernel.kill", { id: "nothing" }, "ENOENT", "nothing");
  await refused("kernel.spawn", { app: "nothing" }, "ENOENT", "nothing");
  await refused("auth.approve", { app: "nothing" }, "ENOENT", "nothing");
});

test("model folders that are incomplete, cut short or nonsense are refused and leave no model", async () => {
  const good = modelFolder();
  const weights = readFileSync(join(good, "model.safetensors"));
  const spoilt = (name: string, spoil: (dir: string) => void) => {
    const dir = join(folder, name);
    cpSync(good, dir, { recursive: true });
    spoil(dir);
    return { dir, name: "spoilt" };
  };
  const file = (name: string, text: string | Uint8Array) => (dir: string) => writeFileSync(join(dir, name), text);
  const cut = (bytes: number) => (dir: string) => truncateSync(join(dir, "model.safetensors"), bytes);
  const huge = Buffer.from(weights);
  huge.writeBigUInt64LE(2n ** 62n);
  const cases: [string, (dir: string) => void, Code, string | RegExp][] = [
    ["half", cut(Math.floor(weights.length / 2)), "EINVAL", "cut short"],
    ["last", cut(weights.length - 1), "EINVAL", "cut short"],
    ["head", cut(20), "EINVAL", "claims a header"],
    ["seven", cut(7), "EINVAL", "has only 7 bytes"],
    ["empty", cut(0), "EINVAL", "has only 0 bytes"],
    ["huge", file("model.safetensors", huge), "EINVAL", "claims a header"],
    ["config", file("config.json", "{"), "EINVAL", "not JSON"],
    ["array", file("config.json", "[]"), "EINVAL", "no JSON object"],
    ["null", file("config.json", "null"), "EINVAL", "no JSON object"],
    ["tokenizer", file("tokenizer.json", "{}"), "EINVAL", /./],
    ["notokenizer", (dir) => rmSync(join(dir, "tokenizer.json")), "ENOENT", "tokenizer.json"],
  ];
  for (const [name, spoil, code, message] of cases) {
    const error = await call("model.importDir", spoilt(name, spoil));
    assert.is(error.code, code, `${name}: ${error.message}`);
    assert.match(error.message, message);
  }
  await refused("model.importDir", { dir: join(folder, "none"), name: "spoilt" }, "ENOENT", "none");
  assert.equal((await client.call("model.list", {})).models, []);
  const row = await client.call("model.importDir", { dir: good, name: "fine" });
  assert.is(row.name, "fine", "while the folder they were made from is taken");
});

test("after all this everything runs as before, in its first epoch", async () => {
  const rows = (await ps(client)).filter(({ kind }) => kind === "service");
  assert.equal(
    rows.map(({ id, state, epoch, restarts }) => [id, state, epoch, restarts]),
    SERVICES.map((service) => [`${service}-1`, "ready", 1, 0]),
  );
});

test.run();
