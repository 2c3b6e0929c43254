// What an app can do to the machine it runs on: nothing but read its own folder.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../kernel/abi/errors.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, System, until } from "../helpers/system.ts";

const PROWLER = fileURLToPath(new URL("../helpers/fixtures/prowler", import.meta.url));
let system: System;
let client: Client;

test.before(async () => {
  system = new System([{ service: "auth", entry: AUTH, core: true }]);
  client = await system.up(["auth-1"]);
});
test.after(() => system.stop());

const spawn = (args: string[], app = PROWLER) => client.stream("kernel.spawn", { app, args });
async function output(stream: ReturnType<typeof spawn>): Promise<string> {
  let text = "";
  for await (const { data } of stream) text += Buffer.from(data).toString();
  return text;
}
const refusal = (app: string): Promise<SomaError> =>
  spawn([], app).result.then(
    () => assert.unreachable("it was run"),
    (error) => error,
  );

test("an app reads its own folder and nothing else, writes nothing, starts nothing", async () => {
  const stream = spawn(["try", system.home]);
  const lines = (await output(stream)).trim().split("\n");
  const outcomes = Object.fromEntries(lines.map((line) => JSON.parse(line)));
  assert.is((await stream.result).code, 0);
  assert.is(outcomes["read its own file"], "done");
  delete outcomes["read its own file"];
  assert.is(Object.keys(outcomes).length, 13);
  for (const [what, outcome] of Object.entries(outcomes))
    assert.ok(["ERR_ACCESS_DENIED", "ERR_DLOPEN_DISABLED"].includes(String(outcome)), `it could ${what}: ${outcome}`);
  assert.is(readFileSync(join(PROWLER, "own.txt"), "utf8"), "what an app brings along");
});

test("an app that takes more memory than its manifest says ends, and what runs of it is cleared away", async () => {
  const stream = spawn(["hoard"]);
  for await (const _ of stream);
  const { code, signal } = await stream.result;
  assert.ok(code !== 0 && (signal !== null || code !== null), `${code} ${signal}`);
  await until("nothing lies about", () => readdirSync(join(system.home, "run", "apps")).length === 0);
});

test("a folder with a link that leads out of it is refused, and a program that cannot be compiled, with its line", async () => {
  const folder = join(system.home, "app");
  cpSync(PROWLER, folder, { recursive: true });
  symlinkSync("/etc", join(folder, "etc"));
  const linked = await refusal(folder);
  assert.is(linked.code, "EINVAL");
  assert.match(linked.message, /etc leads out of the app's folder/);
  rmSync(join(folder, "etc"));
  writeFileSync(join(folder, "main.ts"), "\nconst x = ;\n");
  const broken = await refusal(folder);
  assert.is(broken.code, "EINVAL");
  assert.match(broken.message, /main\.ts:2: Unexpected/);
});

test("an app ends with its parent, even when that is killed and the app would rather not", async () => {
  const stream = spawn(["stay"]);
  let pid = 0;
  for await (const { data } of stream) {
    pid = Number(Buffer.from(data).toString());
    break;
  }
  assert.ok(existsSync(`/proc/${pid}`));
  system.launcher.kill("SIGKILL");
  await until("the app has ended", () => !existsSync(`/proc/${pid}`));
});

test.run();
