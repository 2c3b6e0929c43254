import { credsAuthenticator } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, formatCreds, mint, parseCreds } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";

const account = createKey("account");
const key = createKey("user");
const claims = { name: "ada", sub: key.publicKey, iat: 1_700_000_000, exp: 1_800_000_000, nats: { subs: 5 } };

test("what is minted can be read: claims, issuer, kind and version", () => {
  const { jti, ...rest } = decode(mint("user", claims, account));
  assert.match(jti, /^[A-Z2-7]{52}$/);
  assert.equal(rest, { ...claims, iss: account.publicKey, nats: { subs: 5, type: "user", version: 2 } });
});

test("a JWT with a changed claim is refused", () => {
  const [header, body, signature] = mint("user", claims, account).split(".");
  const changed = Buffer.from(Buffer.from(body!, "base64url").toString().replace("ada", "eve")).toString("base64url");
  assert.throws(() => decode(`${header}.${changed}.${signature}`), /signature of eve's JWT is wrong/);
  assert.throws(() => decode("a.b.c"), /not a JWT/);
});

test("a creds file comes back as it went, and the nats client reads it too", () => {
  const credential = { name: "ada", jwt: mint("user", claims, account), key };
  const text = formatCreds(credential);
  const back = parseCreds(text);
  assert.is(back.jwt, credential.jwt);
  assert.is(back.key.seed, key.seed);
  const { jwt, nkey } = credsAuthenticator(new TextEncoder().encode(text))("nonce") as { jwt: string; nkey: string };
  assert.equal([jwt, nkey], [credential.jwt, key.publicKey]);
});

test("a creds file with somebody else's seed, or without one, is refused", () => {
  const jwt = mint("user", claims, account);
  assert.throws(() => parseCreds(formatCreds({ name: "ada", jwt, key: createKey("user") })), /not the one of ada/);
  assert.throws(
    () => parseCreds("-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n"),
    /not a creds file/,
  );
});

test.run();
