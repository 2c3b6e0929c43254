import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERVICES } from "../../kernel/abi/names.ts";
import { ROOT } from "../../kernel/launcher/node.ts";
import { childrenOf, loadManifest } from "../../kernel/manifest.ts";

const directory = mkdtempSync(join(tmpdir(), "soma-manifest-"));
test.after(() => rmSync(directory, { recursive: true }));

test("the table boots every service once, in the order of the contract, from a program that exists", () => {
  const manifest = loadManifest();
  assert.equal(
    manifest.map(({ service }) => service),
    [...SERVICES],
  );
  for (const { entry } of manifest) assert.ok(existsSync(join(ROOT, entry)), entry);
  assert.equal(manifest.filter(({ core }) => core).length, 1);
});

test("a file may take its place; several instances are numbered and come up one after the other", () => {
  const path = join(directory, "manifest.json");
  const rows = [
    { service: "device", entry: "d.ts", instances: 2 },
    { service: "model", entry: "m.ts", intensity: 1 },
  ];
  writeFileSync(path, JSON.stringify(rows));
  const children = childrenOf(loadManifest(path));
  assert.equal(
    children.map(([name]) => name),
    ["device-1", "device-2", "model-1"],
  );
  assert.is(children[2]![1].intensity, 1);
});

test("a malformed table is refused", () => {
  const path = join(directory, "bad.json");
  for (const rows of [[{ service: "nothing", entry: "x" }], [{ service: "auth" }], { auth: "x" }]) {
    writeFileSync(path, JSON.stringify(rows));
    assert.throws(() => loadManifest(path));
  }
});

test.run();
