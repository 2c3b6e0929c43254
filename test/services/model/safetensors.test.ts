import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { readHeader, writeFlat } from "../../../services/model/safetensors.ts";

const dir = mkdtempSync(join(tmpdir(), "soma-st-"));
test.after(() => rmSync(dir, { recursive: true }));
const path = join(dir, "model.safetensors");
const good = Buffer.from(
  writeFlat(
    [
      ["a", Float32Array.of(1, 2, 3)],
      ["b", Int32Array.of(4)],
    ],
    { format: "pt" },
  ),
);

/** A file with this header and so many bytes after it. */
function withHeader(header: unknown, bytes = 16): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const lead = Buffer.alloc(8);
  lead.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([lead, json, Buffer.alloc(bytes)]);
}

test("a header gives names, dtypes and shapes", () => {
  writeFileSync(path, good);
  assert.equal(readHeader(path), [
    { name: "a", dtype: "F32", shape: [3], begin: 152, end: 164 },
    { name: "b", dtype: "I32", shape: [1], begin: 164, end: 168 },
  ]);
});

test("every cut of the file is noticed, and said to be one", () => {
  for (let length = 0; length < good.length; length++) {
    writeFileSync(path, good.subarray(0, length));
    try {
      readHeader(path);
      assert.unreachable(`${length} bytes were accepted`);
    } catch (error) {
      if (!isSomaError(error, "EINVAL")) throw error;
      assert.match(error.message, /has only|claims|cut short/);
    }
  }
});

test("a header that lies is refused by the name of the tensor", () => {
  const tensor = (dtype: unknown, shape: unknown, data_offsets: unknown) => ({ x: { dtype, shape, data_offsets } });
  const cases: [unknown, RegExp][] = [
    ["not json", /not JSON/],
    [{ __metadata__: {} }, /no tensor/],
    [tensor("F99", [1], [0, 4]), /x of unknown dtype F99/],
    [tensor("F32", [-1], [0, 4]), /tensor x wrongly/],
    [tensor("F32", [1], [0]), /tensor x wrongly/],
    [tensor("F32", [2], [0, 4]), /4 bytes, not 8/],
    [tensor("F32", [8], [0, 32]), /cut short: tensor x/],
  ];
  for (const [header, message] of cases) {
    writeFileSync(path, withHeader(header));
    assert.throws(() => readHeader(path), message);
  }
});

test.run();
