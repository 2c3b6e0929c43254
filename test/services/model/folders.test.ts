import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import { copyModel, digest, Folders, readJson, receive, writeFiles } from "../../../services/model/folders.ts";

const home = mkdtempSync(join(tmpdir(), "soma-folders-"));
test.after(() => rmSync(home, { recursive: true }));
const folders = new Folders(home);
const codeOf = (error: SomaError) => error.code;

test("a staged folder becomes a version in one step, and replaces what a crash left there", async () => {
  const staged = await folders.stage("j1");
  assert.is(await folders.stage("j1"), staged);
  await writeFiles(staged, { "config.json": { a: 1 }, "examples.jsonl": "{}\n" });
  const id = { name: "fox", version: 3 };
  mkdirSync(folders.of(id), { recursive: true });
  writeFileSync(join(folders.of(id), "leftover"), "");
  const dir = await folders.publish(staged, id);
  assert.is(dir, join(home, "models", "fox", "3"));
  assert.equal(readJson(dir, "config.json"), { a: 1 });
  assert.not.ok(existsSync(join(dir, "leftover")));
  assert.not.ok(existsSync(staged));
});

test("what nobody is making is swept away", async () => {
  const [kept, lost] = [await folders.stage("kept"), await folders.stage("lost")];
  await folders.sweep(new Set(["kept"]));
  assert.equal([existsSync(kept), existsSync(lost)], [true, false]);
});

test("only the files that a model has are copied", async () => {
  const from = await folders.stage("from");
  await writeFiles(from, { "config.json": {}, "secret.txt": "no", "tokenizer.json": {} });
  const to = join(home, "to");
  assert.equal(await copyModel(from, to), ["config.json", "tokenizer.json"]);
  assert.not.ok(existsSync(join(to, "secret.txt")));
  assert.is(await copyModel(join(home, "nowhere"), to).then(() => "OK", codeOf), "ENOENT");
});

test("a file is received piece by piece, and its hash is that of the whole", async () => {
  const path = join(home, "weights");
  await receive(
    path,
    (async function* () {
      yield Uint8Array.of(1, 2);
      yield Uint8Array.of(3);
    })(),
  );
  assert.equal([...readFileSync(path)], [1, 2, 3]);
  const { bytes, sha256 } = await digest(path);
  assert.is(bytes, 3);
  assert.is(sha256, "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81");
});

test("a file that is missing or no JSON is named", () => {
  writeFileSync(join(home, "bad.json"), "{");
  assert.throws(() => readJson(home, "bad.json"), /bad\.json is not JSON/);
  assert.throws(() => readJson(home, "none.json"), /no none\.json/);
});

test.run();
