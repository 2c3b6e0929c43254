import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../kernel/abi/errors.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { AUTH, ECHO, ps, STANDIN, System, until } from "../helpers/system.ts";

let system: System;
let client: Client;

test.before(async () => {
  system = new System([
    { service: "auth", entry: AUTH, core: true },
    { service: "memory", entry: STANDIN },
  ]);
  client = await system.up(["auth-1", "memory-1"]);
});
test.after(() => system.stop());

const spawn = (args: string[], more: object = {}) => client.stream("kernel.spawn", { app: ECHO, args, ...more });
type Stream = ReturnType<typeof spawn>;

/** What the app wrote, once `lines` lines are there or it has ended. */
async function read(stream: Stream, lines = Number.POSITIVE_INFINITY): Promise<string> {
  let text = "";
  for await (const { fd, data } of stream) {
    assert.is(fd, 1);
    text += Buffer.from(data).toString();
    if (text.split("\n").length > lines) break;
  }
  return text;
}
const apps = async () => (await ps(client)).filter(({ kind }) => kind === "app");

test("an app runs under a fresh identity of its own, with its arguments and little else", async () => {
  const stream = spawn(["one", "two words", "exit=3"], { columns: 99, color: false });
  const [told, answer] = (await read(stream))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const { id, code, signal } = await stream.result;
  assert.match(id, /^echo-[0-9a-f]{4}$/);
  assert.equal([code, signal], [3, null]);
  assert.equal(told.args, ["one", "two words", "exit=3"]);
  const passed = ["COLUMNS", "HOME", "LANG", "NO_COLOR", "PATH", "TMPDIR", "TZ"];
  assert.equal(
    told.env.filter((name: string) => !passed.includes(name)),
    [],
    "neither bootstrap, credentials nor the system's settings",
  );
  assert.is(answer.key, "from-echo", "it may call what it was granted");
});

test("all of an app's output arrives in order, however slowly it is read", async () => {
  const stream = spawn(["flood"]);
  await stream.accepted;
  let text = "";
  let pauses = 0;
  for await (const { data } of stream) {
    if (pauses++ < 3) await new Promise((resolve) => setTimeout(resolve, 100));
    text += Buffer.from(data).toString();
  }
  const lines = text.trim().split("\n").slice(2);
  assert.is(lines.length, 20_000);
  assert.ok(lines.every((line, i) => Number(line.slice(0, 6)) === i));
});

test("an interactive app reads what the caller types", async () => {
  const stream = spawn(["read"], { interactive: true });
  void stream.upload([Buffer.from("hello "), Buffer.from("world\n")].map((data) => ({ data })));
  assert.match(await read(stream), "hello world\n");
  assert.is((await stream.result).code, 0);
});

test("a caller that cancels ends the app", async () => {
  const stream = spawn(["stay"]);
  const [told] = (await read(stream, 2)).split("\n");
  const { pid } = JSON.parse(told!) as { pid: number };
  const error: SomaError = await stream.result.then(
    () => assert.unreachable(),
    (caught) => caught,
  );
  assert.is(error.code, "ECANCELED");
  await until("it has ended", async () => (await apps()).length === 0 && !readdirSync("/proc").includes(String(pid)));
});

test("a caller that is gone ends the app", async () => {
  const other = await system.person();
  const stream = other.stream("kernel.spawn", { app: ECHO, args: ["stay"] });
  await stream.accepted;
  await until("it runs", async () => (await apps()).length === 1);
  await other.bus.close();
  await until("it has ended", async () => (await apps()).length === 0);
});

test("a detached app goes on without a caller and is ended by name", async () => {
  const { id, code } = await spawn(["stay"], { detached: true }).result;
  assert.is(code, null);
  const [row] = await apps();
  assert.equal([row!.id, row!.owner, row!.note], [id, "person", "detached"]);
  await client.call("kernel.kill", { id });
  await until("it has ended", async () => (await apps()).length === 0);
});

test("an app that is killed says by which signal", async () => {
  const stream = spawn(["stay"]);
  await stream.accepted;
  await until("it runs", async () => (await apps())[0]?.state === "running");
  const [row] = await apps();
  await client.call("kernel.kill", { id: row!.id, signal: "SIGKILL" });
  assert.equal(await stream.result, { id: row!.id, code: null, signal: "SIGKILL" });
});

test("what is no app is refused with what to do", async () => {
  const failure = (app: string): Promise<SomaError> =>
    client.stream("kernel.spawn", { app }).result.then(
      () => assert.unreachable(),
      (error) => error,
    );
  const unknown = await failure("nothing");
  assert.is(unknown.code, "ENOENT");
  assert.match(unknown.message, "translate");
  const folder = join(system.home, "app");
  assert.is((await failure(folder)).code, "ENOENT");
  mkdirSync(folder);
  writeFileSync(join(folder, "app.json"), '{ "name": "auth-1" }');
  assert.match((await failure(folder)).message, "reserved");
  writeFileSync(join(folder, "app.json"), '{ "name": "fine" }');
  assert.match((await failure(folder)).message, "main.ts");
});

test("nothing of what an app wrote stays on disk, and its grant is taken back", async () => {
  assert.equal(
    readdirSync(join(system.home, "log")).filter((file) => file.startsWith("echo")).length,
    1,
    "the detached one's alone",
  );
  // Taken back after its end was told, and seen by watch: `until` fails if one stays.
  await until("no grant is left", async () => (await client.call("kernel.stat", {})).figures.grants === 0, system);
});

test("apps end with the system", async () => {
  await spawn(["stay"], { detached: true }).result;
  await until("it runs", async () => (await apps())[0]?.state === "running");
  await client.call("kernel.shutdown", {});
  assert.equal(await system.ended, [0, null]);
  await until("nothing is left", () => system.processes().length === 0);
});

test.run();
