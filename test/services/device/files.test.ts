// Owns the tests of snapshot files: their bound, what a crash leaves, what damage does, and that writing waits for nobody.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Files } from "../../../services/device/files.ts";

const root = mkdtempSync(join(tmpdir(), "soma-files-"));
test.after(() => rmSync(root, { recursive: true, force: true }));
const fresh = () => mkdtempSync(join(root, "f-"));
const KB = 1024;
const block = (name: string, size = KB) => ({ name, bytes: Buffer.alloc(size, name) });
const head = (text: string) => Buffer.from(text);
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error) => error.code as string,
  );

test("what goes beyond the bound is refused, what was there stays, and room that is given back is used again", async () => {
  const files = new Files(fresh(), 4 * KB);
  await files.write("a", head("A"), [block("1"), block("2")]);
  assert.is(await code(files.write("b", head("B"), [block("3"), block("4")])), "EAGAIN");
  assert.is(files.head("b"), undefined);
  assert.ok(files.figures.bytes <= 4 * KB);
  assert.is(files.figures.refused, 1);
  // Of what is shared only the head is new.
  await files.write("c", head("C"), [{ name: "1" }, { name: "2" }]);
  files.drop("a");
  assert.equal(files.block("c", "2"), block("2").bytes);
  files.drop("c");
  assert.is(files.figures.bytes, 0);
  await files.write("b", head("B"), [block("3"), block("4")]);
  assert.equal(files.head("b"), head("B"));
});

test("what another process wrote counts, and what nobody came back for goes first", async () => {
  const folder = fresh();
  await new Files(folder, 100 * KB).write("a", head("A"), [block("1"), block("2"), block("3")]);
  const files = new Files(folder, 4 * KB);
  assert.is(await code(files.write("b", head("B"), [block("4")])), "EAGAIN");
  const longAgo = Date.now() / 1_000 - 7_200;
  utimesSync(join(folder, "a"), longAgo, longAgo);
  await files.write("b", head("B"), [block("4")]);
  assert.is(files.head("a"), undefined);
  assert.equal(readdirSync(join(folder, "blocks")), ["4"]);
});

test("a write returns before anything is on disk, and what is dropped meanwhile leaves nothing", async () => {
  const files = new Files(fresh(), 100 * KB);
  const [a, b] = [files.write("a", head("A"), [block("1")]), files.write("b", head("B"), [block("1"), block("2")])];
  assert.not.ok(existsSync(join(files.folder, "a")));
  assert.ok(files.settled("b"));
  files.drop("b");
  assert.is(await b, 0);
  await a;
  await files.idle();
  assert.is(files.settled("b"), undefined);
  assert.equal(readdirSync(join(files.folder, "blocks")), ["1"]);
  assert.equal(files.head("a"), head("A"));
  assert.is(files.head("b"), undefined);
});

test("a damaged file is not read, and not linked by the next snapshot", async () => {
  const files = new Files(fresh(), 100 * KB);
  await files.write("a", head("A"), [block("1")]);
  const path = join(files.folder, "a", "1");
  const bytes = readFileSync(path);
  for (const broken of [
    Buffer.concat([bytes.subarray(0, 9), Buffer.from("x"), bytes.subarray(10)]),
    bytes.subarray(0, 2),
  ]) {
    writeFileSync(path, broken);
    assert.throws(() => files.block("a", "1"), /damaged: prefill again/);
    assert.is(files.has("1"), false);
    await files.write("a", head("A"), [block("1")]);
    assert.equal(files.block("a", "1"), block("1").bytes);
  }
});

test("a snapshot whose block is gone by its turn is refused, and nothing of it stays", async () => {
  const files = new Files(fresh(), 100 * KB);
  assert.is(await code(files.write("a", head("A"), [block("1"), { name: "gone" }])), "ENOENT");
  assert.equal(readdirSync(join(files.folder, "blocks")), []);
  assert.not.ok(existsSync(join(files.folder, "a")));
});

// Writes snapshots over and over, of growing length, until it is killed.
const WRITER = `
  import { Files } from ${JSON.stringify(fileURLToPath(new URL("../../../services/device/files.ts", import.meta.url)))};
  const files = new Files(process.argv[1], 2 ** 30);
  console.log("on");
  for (let round = 1; ; round++) {
    const names = Array.from({ length: 1 + round % 20 }, (_, i) => "b" + round + "-" + i);
    const blocks = names.map((name) => ({ name, bytes: Buffer.alloc(200_000, name) }));
    await files.write("s", Buffer.from(JSON.stringify(names)), blocks);
  }
`;

test("killed while it writes, a process leaves the former snapshot or the new one, each of them whole", async () => {
  const folder = fresh();
  let whole = 0;
  for (const ms of [0, 7, 23, 61]) {
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", WRITER, folder], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    await new Promise((resolve) => setTimeout(resolve, ms));
    child.kill("SIGKILL");
    await once(child, "exit");
    const files = new Files(folder, 2 ** 30);
    const found = files.head("s");
    if (found === undefined) continue;
    whole += 1;
    for (const name of JSON.parse(found.toString()) as string[])
      assert.equal(files.block("s", name), Buffer.alloc(200_000, name), `${name} is whole`);
  }
  assert.ok(whole > 0, "something was written");
  // Nobody else writes: a minute later what was left half done goes.
  const files = new Files(folder, 2 ** 30);
  files.drop("s");
  for (const file of readdirSync(join(folder, "blocks"))) utimesSync(join(folder, "blocks", file), 1, 1);
  files.sweep();
  assert.equal(readdirSync(join(folder, "blocks")), []);
});

test.run();
