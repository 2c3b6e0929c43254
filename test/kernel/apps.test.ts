import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../kernel/abi/errors.ts";
import { findApp, listApps } from "../../kernel/apps.ts";
import { ROOT } from "../../kernel/launcher/node.ts";

const root = mkdtempSync(join(tmpdir(), "soma-apps-"));
test.after(() => rmSync(root, { recursive: true }));

function write(name: string, manifest: string, program = "main.ts"): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "app.json"), manifest);
  if (program) writeFileSync(join(folder, program), "");
  return folder;
}

function refusal(wanted: string): SomaError {
  try {
    findApp(root, wanted);
  } catch (error) {
    return error as SomaError;
  }
  throw new Error(`${wanted} was found`);
}

test("an app is found by its name or by the path of its folder", () => {
  const folder = write("hello", '{ "name": "hello", "needs": ["model.generate"], "what": "greets" }');
  const hello = {
    name: "hello",
    needs: ["model.generate"],
    memoryMb: 256,
    packages: [],
    entry: join(folder, "main.ts"),
  };
  assert.equal(findApp(root, "hello"), hello);
  assert.equal(findApp(join(root, "elsewhere"), folder), hello);
  write("plain", '{ "name": "plain", "memoryMb": 64 }', "main.js");
  assert.is(findApp(root, "plain").entry, join(root, "plain", "main.js"));
});

test("a name that is no app lists those that are, and leads nowhere else", () => {
  assert.match(refusal("nothing").message, 'no app "nothing": there are hello, plain');
  assert.is(refusal("..").code, "ENOENT");
  assert.is(refusal(join(root, "missing")).code, "ENOENT");
});

test("a manifest that is wrong is refused with its path and what is wrong", () => {
  for (const [text, message] of [
    ["{", "is no JSON"],
    ["{}", "name"],
    ['{ "name": "auth" }', "reserved"],
    ['{ "name": "Hello" }', "is no name"],
    [`{ "name": "${"a".repeat(28)}" }`, "27 letters"],
    ['{ "name": "x", "needs": "model.generate" }', "needs"],
  ] as const) {
    write("broken", text);
    assert.is(refusal("broken").code, "EINVAL");
    assert.match(refusal("broken").message, message);
  }
  write("empty", '{ "name": "empty" }', "");
  assert.match(refusal("empty").message, "main.ts or main.mjs or main.js");
});

test("all apps of the repository are well-formed and bear the name of their folder", () => {
  const apps = listApps(join(ROOT, "apps"));
  assert.ok(apps.length >= 3);
  for (const name of apps) assert.is(findApp(join(ROOT, "apps"), name).name, name);
});

test.run();
