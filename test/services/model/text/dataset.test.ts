// Owns the test that the device reads what the model service writes.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeDataset, tokenDataset } from "../../../../services/device/engine/dataset.ts";
import { encodeDataset } from "../../../../services/model/text/dataset.ts";

test("the device reads the same examples, splits and weights, empty splits too", () => {
  const train = [
    { ids: [0, 5, 6, 1], prompt: 2, weight: 4 },
    { ids: [0, 7, 1], prompt: 1, weight: 0.5 },
  ];
  const splits = { train, validation: [{ ids: [0, 9], prompt: 1, weight: 1 }], test: [] };
  const bytes = encodeDataset(splits);
  assert.equal(decodeDataset(bytes), tokenDataset(splits));
  // The arrays begin where typed arrays can lie on them without a copy.
  assert.is(new DataView(bytes.buffer).getUint32(0, true) % 8, 0);
});

test.run();
