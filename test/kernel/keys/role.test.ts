// What the broker makes of a scoped signing key's template: recorded on 2.10.27, on which `auth` builds.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Credential, mint } from "../../../kernel/ipc/jwt.ts";
import { createKey, type KeyPair } from "../../../kernel/ipc/nkey.ts";
import type { RoleTemplate } from "../../../kernel/keys/claims.ts";
import { type Bench, withBroker, within } from "../broker/harness.ts";

const TEMPLATE: RoleTemplate = {
  permissions: {
    pub: { allow: ["sys.{{name()}}.{{tag(call)}}", "fixed.{{name()}}"] },
    sub: { allow: ["_INBOX.{{name()}}.>"] },
  },
  subs: 10,
};

/** What `auth` does with the role's key: the name and the tags are all that differs between users. */
function roleUser(account: string, signer: KeyPair, name: string, tags: string[], nats: object = {}): Credential {
  const key = createKey("user");
  const claims = {
    name,
    sub: key.publicKey,
    iat: Math.floor(Date.now() / 1000),
    nats: { issuer_account: account, tags, ...nats },
  };
  return { name, key, jwt: mint("user", claims, signer) };
}

async function withRole(
  work: (bench: Bench, signer: KeyPair, push: () => Promise<void>) => Promise<void>,
): Promise<void> {
  await withBroker(async (bench) => {
    const signer = bench.trust.role("app", TEMPLATE);
    const system = await bench.connect(bench.trust.systemUser());
    const push = () => bench.trust.push(async (subject, body) => (await system.request(subject, body)).data);
    await push();
    await work(bench, signer, push);
  });
}

/** Of these subjects, those that the connection may publish to. */
async function allowed(connection: NatsConnection, subjects: string[]): Promise<string[]> {
  const passes = async (subject: string) =>
    (await connection.request(subject).catch((error: { code: string }) => error.code)) === "503";
  const answers = await Promise.all(subjects.map(async (subject) => [subject, await passes(subject)] as const));
  return answers.filter(([, pass]) => pass).map(([subject]) => subject);
}

const CALLS = [
  "sys.ada.model.any.generate",
  "sys.ada.memory.any.read",
  "sys.ada.kernel.any.spawn",
  "sys.bob.model.any.generate",
];

test("a tag with several values expands to one subject each, and dots in a value make tokens", () =>
  withRole(async ({ trust, connect }, signer) => {
    const tags = ["call:model.any.generate", "call:memory.any.read"];
    const ada = await connect(roleUser(trust.account, signer, "ada", tags));
    assert.equal(await allowed(ada, [...CALLS, "fixed.ada", "fixed.bob"]), [CALLS[0], CALLS[1], "fixed.ada"]);
  }));

test("a tag value may be a wildcard, so whoever mints must check values as well as names", () =>
  withRole(async ({ trust, connect }, signer) => {
    const ada = await connect(roleUser(trust.account, signer, "ada", ["call:model.*.*", "call:kernel.>"]));
    assert.equal(await allowed(ada, CALLS), [CALLS[0], CALLS[2]]);
  }));

test("without any value the subject is left out, and the rest of the template stands", () =>
  withRole(async ({ trust, connect }, signer) => {
    const ada = await connect(roleUser(trust.account, signer, "ada", []));
    assert.equal(await allowed(ada, [...CALLS, "sys.ada", "sys.ada.", "fixed.ada"]), ["fixed.ada"]);
  }));

test("values are compared in the letters they are minted in; the tag's own name must be lower case", () =>
  withRole(async ({ trust, connect }, signer) => {
    const ada = await connect(
      roleUser(trust.account, signer, "ada", ["call:model.any.addLora", "CALL:kernel.any.spawn"]),
    );
    const calls = ["sys.ada.model.any.addLora", "sys.ada.model.any.addlora", "sys.ada.kernel.any.spawn"];
    assert.equal(await allowed(ada, calls), ["sys.ada.model.any.addLora"]);
  }));

test("a hundred values are no problem", () =>
  withRole(async ({ trust, connect }, signer) => {
    const calls = Array.from({ length: 100 }, (_, i) => `model.any.call-${i}`);
    const ada = await connect(
      roleUser(
        trust.account,
        signer,
        "ada",
        calls.map((call) => `call:${call}`),
      ),
    );
    assert.is((await allowed(ada, [...calls.map((call) => `sys.ada.${call}`), "sys.ada.model.any.other"])).length, 100);
  }));

test("a user of the role cannot bring rights of its own", () =>
  withRole(async ({ trust, connect }, signer) => {
    const greedy = roleUser(trust.account, signer, "ada", [], {
      pub: { allow: [">"] },
      sub: {},
      subs: -1,
      data: -1,
      payload: -1,
    });
    assert.is(await connect(greedy).catch((error: { code: string }) => error.code), "AUTHORIZATION_VIOLATION");
  }));

test("the template's limits hold for its users", () =>
  withRole(async ({ trust, home, connect }, signer) => {
    const ada = await connect(roleUser(trust.account, signer, "ada", []));
    const refused = (async () => {
      for await (const { type, data } of ada.status()) if (type === "error") return String(data);
    })();
    for (let i = 0; i < 12; i++) ada.subscribe(`_INBOX.ada.${i}`);
    assert.is(await within("the refusal", refused), "NATS_PROTOCOL_ERR");
    assert.match(readFileSync(join(home.log, "broker.log"), "utf8"), "maximum subscriptions exceeded");
  }));

test("a changed template drops the role's connections, which come back with the new rights; others stay", () =>
  withRole(async ({ trust, connect }, signer, push) => {
    const key = createKey("user");
    const permissions = { pub: { allow: ["sys.bob.>"] }, sub: { allow: ["_INBOX.bob.>"] } };
    const bob = await connect({
      name: "bob",
      key,
      jwt: trust.mintUser({ name: "bob", publicKey: key.publicKey, permissions }),
    });
    const user = roleUser(trust.account, signer, "ada", ["call:model.any.generate"]);
    const ada = await connect(user);
    assert.is(trust.role("app", TEMPLATE).publicKey, signer.publicKey);
    await push();
    await ada.flush();
    assert.not(ada.isClosed(), "the same template again drops nobody");
    trust.role("app", { permissions: { ...TEMPLATE.permissions, pub: { allow: ["changed.{{name()}}"] } } });
    await push();
    await within("the end of ada's connection", ada.closed());
    const again = await connect(user);
    assert.equal(await allowed(again, [CALLS[0]!, "changed.ada"]), ["changed.ada"]);
    await bob.flush();
  }));

test.run();
