import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import type { ModelRecord } from "../../../services/model/record.ts";
import { Registry } from "../../../services/model/registry.ts";
import { MapBucket } from "./bucket.ts";

const record = (name: string, version: number): ModelRecord => ({
  name,
  version,
  architecture: "llama",
  parameters: 1,
  bytes: 1,
  sha256: "0",
  config: {},
  curve: [],
  eval: {},
  createdAt: 0,
  code: "0",
  note: "",
});
const codeOf = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return (error as SomaError).code;
  }
  return "OK";
};
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => "OK",
    (error) => (error as SomaError).code,
  );

async function filled() {
  const bucket = new MapBucket();
  const registry = await Registry.open(bucket);
  for (const [name, version] of [
    ["fox", 1],
    ["fox", 2],
    ["a.b", 1],
  ] as const)
    await registry.add(record(name, version));
  await registry.point("default", { name: "fox", version: 1, dtype: "int8" });
  return { bucket, registry };
}

test("a name means its newest version, name@n that one, an alias what it points at", async () => {
  const { registry } = await filled();
  assert.is(registry.find("fox").record.version, 2);
  assert.is(registry.find("fox@1").record.version, 1);
  assert.equal([registry.find("default").record.version, registry.find("default").dtype], [1, "int8"]);
  assert.is(registry.find("a.b").record.name, "a.b");
  assert.is(
    codeOf(() => registry.find("cat")),
    "ENOENT",
  );
  assert.is(
    codeOf(() => registry.find("fox@3")),
    "ENOENT",
  );
});

test("what is stored is there after a restart, dots in names and all", async () => {
  const { bucket } = await filled();
  const again = await Registry.open(bucket);
  assert.equal(
    again.all().map(({ name, version }) => `${name}@${version}`),
    ["a.b@1", "fox@1", "fox@2"],
  );
  assert.equal(again.aliasesOf({ name: "fox", version: 1 }), ["default"]);
});

test("versions count up, and a number is never given twice, not even after its version was removed", async () => {
  const { registry } = await filled();
  assert.is(await registry.nextVersion("new"), 1);
  assert.is(await registry.nextVersion("new"), 2);
  await registry.add(record("new", 2));
  await registry.remove(record("new", 2));
  assert.is(await registry.nextVersion("new"), 3);
});

test("two instances that ask at once get two numbers", async () => {
  const { bucket, registry } = await filled();
  const other = await Registry.open(bucket);
  const numbers = await Promise.all(Array.from({ length: 8 }, (_, i) => (i % 2 ? registry : other).nextVersion("x")));
  assert.equal(new Set(numbers).size, 8);
});

test("an alias moves in one write and says where it was; another instance sees it", async () => {
  const { bucket, registry } = await filled();
  const other = await Registry.open(bucket);
  const previous = await registry.point("default", { name: "fox", version: 2, dtype: "f32" });
  assert.is(previous?.version, 1);
  assert.is(other.find("default").record.version, 2);
  assert.is(await refusal(registry.point("fox", { name: "a.b", version: 1, dtype: "f32" })), "EINVAL");
});

test("a version that an alias names is not removed", async () => {
  const { registry } = await filled();
  assert.is(await refusal(registry.remove(record("fox", 1))), "EBUSY");
  await registry.remove(record("fox", 2));
  assert.is(registry.find("fox").record.version, 1);
});

test("names that could leave their folder or break a key are refused", async () => {
  const { registry } = await filled();
  for (const name of ["../x", "a/b", ".hidden", "a..b", "a.", "", "x y", "a*", "a>b", "x".repeat(65)])
    assert.is(await refusal(registry.nextVersion(name)), "EINVAL", name);
});

test.run();
