import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { formatCreds, mint } from "../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../kernel/ipc/nkey.ts";
import { appCredentials, credentials, homeDirectory } from "../../../userland/sdk/context.ts";

const home = mkdtempSync(join(tmpdir(), "soma-context-"));
const key = createKey("user");
const jwt = mint("user", { name: "person", sub: key.publicKey, iat: 1, nats: {} } as never, createKey("account"));
const file = join(home, "remote.creds");
const SETTINGS = ["SOMA_HOME", "SOMA_CONTEXT", "NATS_URL", "SOMA_CREDS_FILE", "SOMA_CREDS"];

test.before.each(() => {
  for (const name of SETTINGS) delete process.env[name];
  process.env.SOMA_HOME = home;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(join(home, "contexts"), { recursive: true });
  mkdirSync(join(home, "run"));
  writeFileSync(file, formatCreds({ name: "person", jwt, key } as never));
});
test.after(() => rmSync(home, { recursive: true, force: true }));

const write = (path: string, text: string | object) =>
  writeFileSync(join(home, path), typeof text === "string" ? text : JSON.stringify(text));
const failure = (context?: string): SomaError => {
  try {
    credentials(context);
  } catch (error) {
    return error as SomaError;
  }
  return assert.unreachable("it should have failed") as never;
};

test("a named context is a file of that name, or any file by its path", () => {
  write("contexts/lab.json", { url: "nats://lab:4222", creds: file });
  const found = credentials("lab");
  assert.equal([found.url, found.name, found.jwt], ["nats://lab:4222", "person", jwt]);
  assert.is(found.seed, key.seed);
  assert.equal(credentials(join(home, "contexts", "lab.json")), found);
  process.env.SOMA_CONTEXT = "lab";
  assert.equal(credentials(), found);
});

test("a context that is missing or wrong is a coded error that names the file", () => {
  const missing = failure("lab");
  assert.is(missing.code, "ENOENT");
  assert.match(missing.message, join("contexts", "lab.json"));
  for (const text of ["{", "[]", "null", '{"url":"nats://lab:4222"}', '{"url":1,"creds":"x"}']) {
    write("contexts/lab.json", text);
    const error = failure("lab");
    assert.is(error.code, "EINVAL", text);
    assert.match(error.message, "lab.json");
  }
});

test("a creds file that is missing or none is a coded error that names it", () => {
  write("contexts/lab.json", { url: "nats://lab:4222", creds: join(home, "none.creds") });
  assert.is(failure("lab").code, "ENOENT");
  assert.match(failure("lab").message, "none.creds");
  write("none.creds", "hello");
  assert.is(failure("lab").code, "EINVAL");
  assert.match(failure("lab").message, "none.creds");
});

test("NATS_URL counts together with a creds file, before the system here", () => {
  write("run/system.json", { url: "nats://127.0.0.1:1", pid: 1 });
  write("person.creds", formatCreds({ name: "person", jwt, key } as never));
  assert.is(credentials().url, "nats://127.0.0.1:1");
  process.env.NATS_URL = "nats://far:4222";
  assert.is(credentials().url, "nats://127.0.0.1:1", "an address alone says not as whom");
  process.env.SOMA_CREDS_FILE = file;
  assert.is(credentials().url, "nats://far:4222");
});

test("where no system runs, the error says how to start one", () => {
  assert.is(failure().code, "ENOENT");
  assert.match(failure().message, "soma start");
  write("run/system.json", { url: "nats://127.0.0.1:1", pid: 1 });
  assert.match(failure().message, "soma start", "a system, but no credential");
});

test("an app's credential is taken out of its environment, once", () => {
  process.env.SOMA_CREDS = JSON.stringify({ url: "nats://127.0.0.1:1", name: "echo-1", jwt, seed: key.seed });
  const found = appCredentials()!;
  assert.equal([found.name, found.seed], ["echo-1", key.seed]);
  assert.not.ok("SOMA_CREDS" in process.env);
  assert.is(appCredentials(), undefined);
});

test("the system's directory is SOMA_HOME, or .soma in the person's own", () => {
  assert.is(homeDirectory(), home);
  process.env.SOMA_HOME = "";
  assert.match(homeDirectory(), /\.soma$/);
});

test.run();
