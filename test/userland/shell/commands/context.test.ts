import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatCreds, mint } from "../../../../kernel/ipc/jwt.ts";
import { createKey } from "../../../../kernel/ipc/nkey.ts";

const SOMA = fileURLToPath(new URL("../../../../userland/shell/soma.mjs", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "soma-contexts-"));
test.after(() => rmSync(home, { recursive: true, force: true }));

function soma(args: string[], input = "") {
  const env = { ...process.env, SOMA_HOME: home };
  const { status, stdout, stderr } = spawnSync(process.execPath, [SOMA, ...args], { env, input, encoding: "utf8" });
  return { status, text: stdout + stderr };
}

test("a system elsewhere is remembered by name with a credential from stdin, listed, and forgotten", () => {
  const key = createKey("user");
  const text = formatCreds({
    name: "bob",
    jwt: mint("user", { name: "bob", sub: key.publicKey, nats: {} } as never, createKey("account")),
    key,
  });
  const added = soma(["context", "add", "lab", "nats://127.0.0.1:4999"], text);
  assert.is(added.status, 0, added.text);
  const file = join(home, "contexts", "lab.creds");
  assert.is(readFileSync(file, "utf8"), text);
  assert.is(statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(soma(["context", "ls", "--json"]).text), [
    { name: "lab", url: "nats://127.0.0.1:4999", as: "bob" },
  ]);
  // It is what --context reads: no broker is there.
  assert.match(soma(["--context", "lab", "ps"]).text, /^soma: EIO/);
  assert.is(soma(["context", "rm", "lab"]).status, 0);
  assert.equal(JSON.parse(soma(["context", "ls", "--json"]).text), []);
});

test("what is no name, no address, no credential or not known is refused with what to do", () => {
  for (const [args, code] of [
    [["add", "../x", "nats://h:1"], 64],
    [["add", "x", "nowhere"], 64],
    [["add", "x", "nats://h:1"], 64],
    [["rm", "x"], 66],
  ] as const) {
    const { status, text } = soma(["context", ...args], "no creds");
    assert.is(status, code, text);
    assert.match(text, /^soma: E/);
  }
});

test.run();
