import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { startBroker } from "../../../kernel/broker/server.ts";
import { type Credential, decode } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { Authority, type Request } from "../../../kernel/keys/authority.ts";
import { natsServer, withBroker, withDirectory, within } from "../broker/harness.ts";

const storage = { disk: 1024 ** 3, memory: 1024 ** 2 };

/** An app that may call `sys.<name>.>` and read its own inbox. */
function app(
  trust: Authority,
  name: string,
  more: { expires?: number; subs?: number; payload?: number } = {},
): Credential {
  const key = createKey("user");
  const permissions = { pub: { allow: [`sys.${name}.>`] }, sub: { allow: [`_INBOX.${name}.>`] } };
  return { name, key, jwt: trust.mintUser({ name, publicKey: key.publicKey, permissions, ...more }) };
}

const pusher =
  (system: NatsConnection): Request =>
  async (subject, body) =>
    (await system.request(subject, body)).data;

/** The code of the error that a publish to `subject` earns, or undefined when the broker let it pass. */
async function refusal(connection: NatsConnection, subject: string): Promise<string | undefined> {
  const answer = await connection
    .request(subject, undefined, { timeout: 5_000 })
    .catch((error: { code: string }) => error.code);
  // Nobody listens: the broker says 503, so it let the message pass.
  return answer === "503" ? undefined : String(answer);
}

test("at first start it makes keys and an account for its owner only, later starts find the same", () =>
  withDirectory((directory) => {
    const first = new Authority(directory, { storage });
    const second = new Authority(directory, { storage });
    assert.is(second.accountJwt(), first.accountJwt());
    assert.is(second.operatorJwt, first.operatorJwt);
    assert.is(second.systemAccountJwt, first.systemAccountJwt);
    assert.equal(readdirSync(directory).sort(), [
      "account.json",
      "account.seed",
      "operator.seed",
      "signer.seed",
      "system.seed",
    ]);
    for (const file of readdirSync(directory)) assert.is(statSync(join(directory, file)).mode & 0o777, 0o600);
  }));

test("nobody gets a name that could act for others: bad, reserved and wildcard names are refused", () =>
  withDirectory((directory) => {
    const trust = new Authority(directory, { storage });
    const { publicKey } = createKey("user");
    const permissions = { pub: {}, sub: {} };
    for (const name of [
      "*",
      ">",
      "a.b",
      "A",
      "",
      "x".repeat(33),
      "kernel",
      "any",
      "all",
      "device",
      "device-3",
      "boot-1",
      "person",
    ]) {
      assert.throws(
        () => trust.mintUser({ name, publicKey, permissions }),
        (error: unknown) => isSomaError(error, "EINVAL"),
      );
    }
    assert.throws(
      () => trust.mintActor({ name: "ada", publicKey, permissions }),
      (error: unknown) => isSomaError(error, "EINVAL"),
    );
    const account = createKey("account").publicKey;
    assert.throws(
      () => trust.mintUser({ name: "ada", publicKey: account, permissions }),
      (error: unknown) => isSomaError(error, "EINVAL"),
    );
    assert.is(decode(trust.mintUser({ name: "ada", publicKey, permissions })).name, "ada");
    assert.is(decode(trust.mintActor({ name: "device-3", publicKey, permissions })).name, "device-3");
  }));

test("the broker lets a user do what its JWT says and nothing else", () =>
  withBroker(async ({ trust, connect }) => {
    const ada = await connect(app(trust, "ada"));
    assert.is(await refusal(ada, "sys.ada.model.any.generate"), undefined);
    for (const subject of ["sys.bob.model.any.generate", "evt.kernel.down.x", "$JS.API.INFO", "_INBOX.bob.1"]) {
      assert.is(await refusal(ada, subject), "PERMISSIONS_VIOLATION", subject);
    }
    for (const subject of ["_INBOX.bob.>", "_INBOX.>", ">", "sys.ada.>"]) {
      const refused = new Promise((resolve) => ada.subscribe(subject, { callback: (error) => resolve(error?.code) }));
      assert.is(await within("the refusal", refused), "PERMISSIONS_VIOLATION", subject);
    }
  }));

test("payload and subscription limits and the expiry are the broker's, too", () =>
  withBroker(async ({ trust, connect }) => {
    const ada = await connect(app(trust, "ada", { payload: 1_000, expires: Date.now() + 2_000 }));
    assert.is(ada.info?.max_payload, 1_000);
    const end = await within("the end of ada's connection", ada.closed());
    assert.is((end as { code?: string } | undefined)?.code, "AUTHENTICATION_EXPIRED");
  }));

test("revoking a key closes its connection and no other; it stays out, also after a restart", () =>
  withBroker(async ({ trust, home, broker, connect }) => {
    const system = await connect(trust.systemUser());
    const credential = app(trust, "ada");
    const ada = await connect(credential);
    const bob = await connect(app(trust, "bob"));
    trust.revoke(credential.key.publicKey);
    await trust.push(pusher(system));
    assert.match(String(await within("the end of ada's connection", ada.closed())), "Revoked");
    await bob.flush();
    const refused = (servers?: string) =>
      connect(credential, servers ? { servers } : {}).catch((error: { code: string }) => error.code);
    assert.is(await refused(), "AUTHORIZATION_VIOLATION");
    await system.close();
    await bob.close();
    await broker.stop();
    const again = await startBroker({
      program: await natsServer(),
      home,
      trust: new Authority(home.keys, { storage }),
    });
    assert.is(await refused(again.url), "AUTHORIZATION_VIOLATION");
    const carol = await connect(app(trust, "carol"), { servers: again.url });
    await carol.close();
    await again.stop();
  }));

test("a revocation made while the broker was down is in force when it is back", () =>
  withBroker(async ({ trust, home, broker, connect }) => {
    const credential = app(trust, "ada");
    await (await connect(credential)).close();
    await broker.stop();
    trust.revoke(credential.key.publicKey);
    const again = await startBroker({
      program: await natsServer(),
      home,
      trust: new Authority(home.keys, { storage }),
    });
    const code = await connect(credential, { servers: again.url }).catch((error: { code: string }) => error.code);
    assert.is(code, "AUTHORIZATION_VIOLATION");
    await again.stop();
  }));

test("revocations are forgotten when their JWTs have ended anyway, and not before", () =>
  withDirectory((directory) => {
    let now = 1_700_000_000_000;
    const trust = new Authority(directory, { storage, now: () => now });
    const [short, long, endless] = [createKey("user"), createKey("user"), createKey("user")].map(
      (key) => key.publicKey,
    );
    trust.revoke(short!, { until: now + 10_000 });
    trust.revoke([long!], { until: now + 100_000 });
    trust.revoke(endless!);
    assert.is(trust.prune(), 0);
    now += 20_000;
    assert.is(trust.prune(), 1);
    const revoked = () => Object.keys(decode(trust.accountJwt()).nats.revocations as object).sort();
    assert.equal(revoked(), [long, endless].sort());
    now += 1_000_000_000;
    assert.is(new Authority(directory, { storage, now: () => now }).prune(), 1);
  }));

test("the account never gets an older date, even when the clock steps back", () =>
  withDirectory((directory) => {
    let now = 1_700_000_000_000;
    const trust = new Authority(directory, { storage, now: () => now });
    now -= 3_600_000;
    trust.revoke(createKey("user").publicKey);
    assert.is(decode(trust.accountJwt()).iat, 1_700_000_000);
  }));

test("pushes that come together share one request after the running one, which carries the newest account", () =>
  withDirectory(async (directory) => {
    const trust = new Authority(directory, { storage });
    const sent: string[] = [];
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const request: Request = async (_, body) => {
      sent.push(Buffer.from(body).toString());
      if (sent.length === 1) await held;
      return Buffer.from(JSON.stringify({ data: { code: 200 } }));
    };
    const first = trust.push(request);
    trust.revoke(createKey("user").publicKey);
    const second = trust.push(request);
    trust.revoke(createKey("user").publicKey);
    const third = trust.push(request);
    release();
    await Promise.all([first, second, third]);
    assert.is(sent.length, 2);
    assert.is(sent[1], trust.accountJwt());
  }));

test("a push that the broker refuses fails, and so does one to a dead broker; the next one goes on", () =>
  withDirectory(async (directory) => {
    const trust = new Authority(directory, { storage });
    const answer = (body: unknown) => async () => Buffer.from(JSON.stringify(body));
    const refused = await trust.push(answer({ error: { description: "no" } })).catch((error: unknown) => error);
    assert.ok(isSomaError(refused, "EIO") && refused.message.includes("no"));
    const dead = await trust.push(() => Promise.reject(new Error("closed"))).catch((error: Error) => error.message);
    assert.is(dead, "closed");
    await trust.push(answer({ data: { code: 200 } }));
  }));

test.run();
