import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { runLine, Session } from "../../../userland/shell/program.ts";

const root = mkdtempSync(join(tmpdir(), "soma-keep-"));
const home = join(root, "home");
const file = join(root, "monday.tar.gz");

async function run(...argv: string[]) {
  let out = "";
  let err = "";
  const signal = new AbortController().signal;
  const line = { session: new Session(), signal, interactive: false };
  const code = await runLine(argv, { ...line, out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}

/** What lies in a directory: path -> text. */
function contents(directory: string): Record<string, string> {
  const paths = readdirSync(directory, { recursive: true, encoding: "utf8" });
  const files = paths.filter((path) => statSync(join(directory, path)).isFile()).sort();
  return Object.fromEntries(files.map((path) => [path, readFileSync(join(directory, path), "utf8")]));
}

const KEPT = {
  format: "1\n",
  "person.creds": "secret",
  "keys/operator.nk": "SO",
  "js/store/1.blk": "\u0000data",
  "models/tiny/1/config.json": "{}",
  // A name like one that is skipped, further in.
  "models/log/1/run": "kept",
};

test.before.each(() => {
  rmSync(root, { recursive: true, force: true });
  process.env.SOMA_HOME = home;
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const files = {
    ...KEPT,
    "run/old.lock": "x",
    "log/kernel.log": "x",
    "cache/nats-server": "x",
    "snapshots/m.bin": "x",
  };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(home, path, ".."), { recursive: true });
    writeFileSync(join(home, path), text, { mode: 0o600 });
  }
});
test.after(() => rmSync(root, { recursive: true, force: true }));

/** As if a system ran there under this pid. */
function running(pid: number): void {
  writeFileSync(join(home, "run", "system.json"), JSON.stringify({ url: "nats://127.0.0.1:1", pid }));
}

test("what was backed up, reset and restored is what was there, without what each start makes anew", async () => {
  assert.is((await run("backup", file)).code, 0);
  assert.is((await run("reset", "--yes")).code, 0);
  assert.equal(contents(home), { "cache/nats-server": "x" });
  assert.is((await run("restore", file)).code, 0);
  assert.equal(contents(home), { ...KEPT, "cache/nats-server": "x" });
  assert.is(statSync(join(home, "keys/operator.nk")).mode & 0o777, 0o600);
});

test("a backup holds secret keys, so that it is for its owner alone", async () => {
  await run("backup", file);
  assert.is(statSync(file).mode & 0o077, 0);
});

test("a restore makes the directory where there is none", async () => {
  await run("backup", file);
  rmSync(home, { recursive: true });
  const { code, out } = await run("restore", file, "--json");
  assert.equal([code, JSON.parse(out)], [0, { home }]);
  assert.equal(contents(home), KEPT);
  assert.is(statSync(home).mode & 0o777, 0o700);
});

test("all three are refused while a system runs, and do nothing", async () => {
  await run("backup", file);
  const before = readFileSync(file);
  running(process.pid);
  const now = contents(home);
  for (const argv of [
    ["backup", file],
    ["restore", file],
    ["reset", "--yes"],
  ]) {
    const { code, err } = await run(...argv);
    assert.is(code, 75, argv[0]);
    assert.match(err, `pid ${process.pid}): "soma stop" before ${argv[0]}`);
  }
  assert.equal(contents(home), now);
  assert.equal(readFileSync(file), before);
});

test("what a system left that was killed is no system that runs", async () => {
  // Above the largest pid of Linux.
  running(2 ** 22 + 1);
  assert.is((await run("backup", file)).code, 0);
});

test("a restore onto a system is refused and says what to do", async () => {
  await run("backup", file);
  const { code, err } = await run("restore", file);
  assert.is(code, 73);
  assert.match(err, "soma reset --yes");
  assert.equal(contents(join(home, "models")), { "tiny/1/config.json": "{}", "log/1/run": "kept" });
});

test("a restore that fails leaves nothing that would be in the way of the next", async () => {
  await run("backup", file);
  await run("reset", "--yes");
  const whole = readFileSync(file);
  const bad = join(root, "bad.tar.gz");
  writeFileSync(bad, whole.subarray(0, whole.length - 40));
  const { code, err } = await run("restore", bad);
  assert.is(code, 74);
  assert.match(err, /^soma: EIO: tar failed: [^\n]*\n$/);
  assert.is((await run("restore", file)).code, 0);
  assert.equal(contents(home), { ...KEPT, "cache/nats-server": "x" });
});

test("a backup into a folder that is not there, of a home that is none, and of no file are coded errors", async () => {
  assert.is((await run("backup", join(root, "none", "x.tar.gz"))).code, 74);
  assert.is((await run("restore", join(root, "none.tar.gz"))).code, 66);
  await run("reset", "--yes");
  const { code, err } = await run("backup", file);
  assert.equal([code, existsSync(file)], [66, false]);
  assert.match(err, "nothing to back up");
});

test("a backup into the home itself holds everything but itself", async () => {
  const inside = join(home, "backup.tar.gz");
  assert.equal((await run("backup", inside)).err, "");
  rmSync(join(root, "other"), { recursive: true, force: true });
  process.env.SOMA_HOME = join(root, "other");
  assert.is((await run("restore", inside)).code, 0);
  assert.equal(contents(join(root, "other")), KEPT);
});

test("a reset needs --yes", async () => {
  const before = contents(home);
  const { code, err } = await run("reset");
  assert.is(code, 64);
  assert.match(err, "--yes");
  assert.equal(contents(home), before);
});

test.run();
