import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import { findFiles, readRows } from "../../../../userland/shell/data/rows.ts";

const PARQUET = fileURLToPath(new URL("../../../fixtures/pairs.parquet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "soma-rows-"));
test.after(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, text: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

async function rows(path: string): Promise<Record<string, string>[]> {
  let text = "";
  for await (const lines of readRows({ path, bytes: 0 })) text += lines;
  assert.is(text.at(-1), "\n");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("lines of JSON go as they are, and the last one gets its end", async () => {
  assert.equal(await rows(file("a.jsonl", '{"text":"一"}\n{"text":"two"}')), [{ text: "一" }, { text: "two" }]);
});

test("columns of CSV are named by its first line; quotes and line ends in them are kept", async () => {
  const path = file("a.csv", '\ufeffsource,target\n"Hello, World","你好\n世界"\n\n"say ""hi""",嗨\n');
  assert.equal(await rows(path), [
    { source: "Hello, World", target: "你好\n世界" },
    { source: 'say "hi"', target: "嗨" },
  ]);
  assert.equal(await rows(file("a.tsv", "text\tn\nx\t1\n")), [{ text: "x", n: "1" }]);
  const error = await rows(file("bad.csv", "a,b\n1,2,3\n")).catch((thrown) => thrown);
  assert.instance(error, SomaError);
  assert.match(error.message, /bad\.csv: .*line 2/);
});

test("a Parquet file of Python's is read over all its groups of rows", async () => {
  const read = await rows(PARQUET);
  assert.is(read.length, 1500);
  assert.equal(read[1499], { source: "Hello 1499", target: "你好 1499", task: "translate" });
  const error = await rows(file("bad.parquet", "no parquet at all")).catch((thrown) => thrown);
  assert.instance(error, SomaError);
  assert.match(error.message, /bad\.parquet: /);
});

test("a text is cut at blank lines, into passages of paragraphs, and nothing is lost", async () => {
  const paragraphs = Array.from({ length: 40 }, (_, i) => `Paragraph ${i}: ${"words ".repeat(20).trim()}.`);
  const read = await rows(file("a.md", paragraphs.join("\r\n\r\n")));
  assert.ok(read.length > 3 && read.length < 10, `${read.length} passages`);
  assert.is(read.map(({ text }) => text).join("\n\n"), paragraphs.join("\n\n"));
});

test("a folder is searched whole, and what cannot be read is named", () => {
  mkdirSync(join(dir, "deep", "er"), { recursive: true });
  writeFileSync(join(dir, "deep", "er", "b.txt"), "text");
  writeFileSync(join(dir, "deep", "a.jsonl"), "{}\n");
  writeFileSync(join(dir, "deep", "c.png"), "");
  assert.equal(
    findFiles([join(dir, "deep")]).map(({ path }) => path.slice(dir.length)),
    ["/deep/a.jsonl", "/deep/er/b.txt"],
  );
  const failure = (path: string) => {
    try {
      findFiles([path]);
    } catch (error) {
      return (error as SomaError).code;
    }
    return undefined;
  };
  assert.is(failure(join(dir, "none")), "ENOENT");
  assert.is(failure(join(dir, "deep", "c.png")), "EINVAL");
});

test.run();
