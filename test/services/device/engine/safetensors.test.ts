// The safetensors format: what is written comes back, and a broken file is refused with a reason.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import {
  readFloats,
  readHeader,
  readWeights,
  writeSafetensors,
} from "../../../../services/device/engine/safetensors.ts";

const tensors = [
  ["a", { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-20, 7) }],
  ["none", { shape: [0, 4], data: new Float32Array(0) }],
  ["c", { shape: [3], data: Int32Array.of(1, -1, 2 ** 31 - 1) }],
] as const;
const file = writeSafetensors(tensors, { format: "pt" });

/** A file whose header is exactly this. */
function withHeader(header: unknown, data = 16): Uint8Array {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(data)]);
}

function refused(bytes: Uint8Array, why: RegExp): void {
  try {
    readHeader(bytes);
  } catch (error) {
    assert.ok(isSomaError(error, "EINVAL"), `threw ${error}`);
    assert.match((error as Error).message, why);
    return;
  }
  assert.unreachable(`a file that should be refused for ${why} was read`);
}

test("what is written comes back with names, shapes and metadata", () => {
  const { entries, metadata } = readHeader(file);
  assert.equal(metadata, { format: "pt" });
  assert.equal([...entries.keys()], ["a", "none", "c"]);
  assert.equal(entries.get("a")!.shape, [2, 3]);
  assert.equal(readFloats(file, entries.get("a")!), tensors[0][1].data);
  assert.is(readFloats(file, entries.get("none")!).length, 0);
});

test("a tensor is a view of an aligned file and a copy from an unaligned one", () => {
  const { entries } = readHeader(file);
  assert.is(readFloats(file, entries.get("a")!).buffer, file.buffer);
  const shifted = new Uint8Array(file.length + 1);
  shifted.set(file, 1);
  const odd = shifted.subarray(1);
  assert.equal(readFloats(odd, readHeader(odd).entries.get("a")!), tensors[0][1].data);
});

test("half precision is read as f32", () => {
  const header = {
    h: { dtype: "F16", shape: [6], data_offsets: [0, 12] },
    b: { dtype: "BF16", shape: [2], data_offsets: [12, 16] },
  };
  const bytes = withHeader(header);
  const half = [0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x8000, 0x3f80, 0xc0a0];
  const view = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 16);
  for (const [i, bits] of half.entries()) view.setUint16(2 * i, bits, true);
  const { entries } = readHeader(bytes);
  assert.equal([...readFloats(bytes, entries.get("h")!)], [1, -2, 2 ** -24, 65504, Number.POSITIVE_INFINITY, -0]);
  assert.equal([...readFloats(bytes, entries.get("b")!)], [1, -5]);
});

test("a file cut short anywhere is refused", () => {
  for (let length = 0; length < file.length; length++) refused(file.subarray(0, length), /fetch it again/);
});

test("a header that does not fit is refused with what is wrong", () => {
  const one = (entry: object) => withHeader({ t: { dtype: "F32", shape: [4], data_offsets: [0, 16], ...entry } });
  readHeader(one({}));
  refused(one({ dtype: "F128" }), /dtype F128/);
  refused(one({ dtype: "toString" }), /dtype toString/);
  refused(one({ shape: [5] }), /needs 20 bytes but has 16/);
  refused(one({ shape: [-4] }), /no valid shape/);
  refused(one({ data_offsets: [0.5, 16.5] }), /no valid offsets/);
  refused(one({ data_offsets: [4, 20] }), /the file has/);
  refused(withHeader("{oops"), /not JSON/);
  refused(withHeader("[]"), /not a JSON object/);
  refused(withHeader({ t: null }), /tensor t/);
  const overlap = { dtype: "F32", shape: [2] };
  refused(
    withHeader({ a: { ...overlap, data_offsets: [0, 8] }, b: { ...overlap, data_offsets: [4, 12] } }),
    /overlaps/,
  );
});

test("no bytes make the reader fail in any other way", () => {
  const broken = fc.record({ at: fc.nat(file.length - 1), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(broken, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = file.slice();
      for (const { at, to } of changes) bytes[at] = to;
      try {
        readWeights(bytes);
      } catch (error) {
        assert.ok(isSomaError(error, "EINVAL"), `threw ${error}`);
      }
    }),
    { seed: 3, numRuns: 500 },
  );
});

test.run();
