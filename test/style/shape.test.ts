// House rules that a program can check.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";

const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"], {
  encoding: "utf8",
})
  .trim()
  .split("\n");
const text = (file: string) => readFileSync(file, "utf8");
const product = files.filter((file) => /^(kernel|services|userland|apps)\//.test(file));

test("there are files to look at", () => assert.ok(product.length > 100));

test("every file says in its first line what it owns", () => {
  assert.equal(
    product.filter((file) => !/^(\/\/|\/\*|#!)/.test(text(file))),
    [],
  );
});

test("no file is over 400 lines", () => {
  assert.equal(
    product.filter((file) => text(file).split("\n").length > 400),
    [],
  );
});

test("no utils, no barrels", () => {
  assert.equal(
    product.filter((file) => /(^|\/)(utils?|index|helpers?|misc)\.ts$/.test(file)),
    [],
  );
});

test("every test file runs its tests", () => {
  const silent = files.filter((file) => file.endsWith(".test.ts") && !/\.run\(\)/.test(text(file)));
  assert.equal(silent, []);
});

test("no absolute path, address of a registry or to-do is left", () => {
  const words = [["/wo", "rk/"].join(""), ["/ro", "ot/"].join(""), ["TO", "DO"].join(""), ["FIX", "ME"].join("")];
  assert.equal(
    files.filter((file) => words.some((word) => text(file).includes(word))),
    [],
  );
});

test.run();
