import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../../kernel/ipc/client.ts";
import { System } from "../../helpers/system.ts";

const SOMA = fileURLToPath(new URL("../../../userland/shell/soma.mjs", import.meta.url));
const TSC = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url));
const TYPES = fileURLToPath(new URL("../../../node_modules/@types", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "soma-create-"));
let system: System;
let client: Client;

test.before(async () => {
  system = new System();
  client = await system.up();
});
test.after(async () => {
  await system.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The `soma` command in the test's folder. */
async function soma(...args: string[]) {
  const { NATS_URL: _, SOMA_CONTEXT: __, ...env } = process.env;
  const child = spawn(process.execPath, [SOMA, ...args], {
    cwd: folder,
    env: { ...env, SOMA_HOME: system.home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const output of [child.stdout, child.stderr])
    output.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  const [code] = (await once(child, "close")) as [number];
  return { code, text };
}

test("an app is made from the template, and says what to do next", async () => {
  const { code, text } = await soma("create", "hello");
  assert.is(code, 0, text);
  assert.match(text, "soma dev hello");
  const manifest = JSON.parse(readFileSync(join(folder, "hello", "app.json"), "utf8"));
  assert.equal([manifest.name, manifest.needs], ["hello", ["model.generate"]]);
});

test("what was made type-checks against the SDK, strictly", () => {
  const options = "--noEmit --strict --skipLibCheck --module nodenext --target es2022 --resolveJsonModule";
  const args = [
    TSC,
    ...options.split(" "),
    "--allowImportingTsExtensions",
    "--typeRoots",
    TYPES,
    "--types",
    "node",
    "main.ts",
  ];
  const { status, stdout } = spawnSync(process.execPath, args, { cwd: join(folder, "hello"), encoding: "utf8" });
  assert.is(status, 0, stdout.slice(0, 2_000));
});

test("it runs only once the person has approved what it asks for", async () => {
  const first = await soma("run", "./hello");
  assert.is(first.code, 77, first.text);
  assert.match(first.text, "soma app approve hello");
  await client.call("auth.approve", { app: "hello" });
  // There is no model yet: the app is told so under its own name.
  const { code, text } = await soma("run", "./hello");
  assert.is(code, 66, text);
  assert.match(text, /hello: ENOENT: no model "default"/);
});

test("its output, its words and its exit code come through", async () => {
  const main = readFileSync(join(folder, "hello", "main.ts"), "utf8");
  const body = 'print(args.join("|")); process.exitCode = 0; soma.name;';
  writeFileSync(join(folder, "hello", "main.ts"), main.replace(/const stream.*\\n"\);/s, body));
  const { code, text } = await soma("run", "./hello", "今天", "--json", "two words");
  assert.equal([code, text], [0, "今天|two words"]);
});

test("a name that is taken, reserved or none is refused and makes nothing", async () => {
  mkdirSync(join(folder, "taken"));
  assert.is((await soma("create", "taken")).code, 73);
  for (const name of ["model-1", "../up"]) {
    assert.is((await soma("create", name)).code, 64, name);
  }
});

test.run();
