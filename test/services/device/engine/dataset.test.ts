// The dataset blob: what is encoded comes back, and what cannot be learnt from is refused.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { resolveArchitecture } from "../../../../services/device/engine/architecture.ts";
import { checkDataset } from "../../../../services/device/engine/check.ts";
import {
  type Dataset,
  decodeDataset,
  encodeDataset,
  tokenDataset,
} from "../../../../services/device/engine/dataset.ts";
import { writeSafetensors } from "../../../../services/device/engine/safetensors.ts";

const llama = resolveArchitecture("llama", {
  ...{ vocab_size: 10, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, max_position_embeddings: 4 },
});
const mlp = (loss: string) => resolveArchitecture("mlp", { layers: [2, 3], loss });

function refused(what: () => void, why: RegExp): void {
  try {
    what();
  } catch (error) {
    assert.ok(isSomaError(error, "EINVAL"), `threw ${error}`);
    assert.match((error as Error).message, why);
    return;
  }
  assert.unreachable(`nothing refused for ${why}`);
}

const tokens = tokenDataset({
  train: [
    { ids: [1, 2, 3], prompt: 2 },
    { ids: [4, 5], prompt: 0, weight: 3 },
  ],
});
const empty = { features: new Float32Array(0), weights: new Float32Array(0) };
const vectors = (fields: object): Dataset => ({
  kind: "vectors",
  width: 2,
  outputs: 3,
  splits: {
    train: { features: Float32Array.of(1, 2, 3, 4), weights: Float32Array.of(1, 1), ...fields },
    validation: empty,
    test: empty,
  },
});

test("texts come back as they were encoded", () => {
  assert.equal(decodeDataset(encodeDataset(tokens)), tokens);
  assert.equal([...tokens.splits.train.starts], [0, 3, 5]);
});

test("vectors come back as they were encoded", () => {
  const data = vectors({ labels: Int32Array.of(0, 2) });
  assert.equal(decodeDataset(encodeDataset(data)), data);
});

test("a dataset in shared memory is read in place", () => {
  const bytes = encodeDataset(tokens);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const read = decodeDataset(shared) as typeof tokens;
  assert.equal([...read.splits.train.ids], [...tokens.splits.train.ids]);
  assert.is(read.splits.train.ids.buffer, shared.buffer);
});

test("other files are refused", () => {
  refused(() => decodeDataset(writeSafetensors([], { format: "pt" })), /not a Soma dataset/);
});

test("examples without anything to learn are refused when they are encoded", () => {
  refused(() => tokenDataset({ train: [{ ids: [1], prompt: 0 }] }), /example 0 has 1 ids/);
  refused(() => tokenDataset({ train: [{ ids: [1, 2], prompt: 2 }] }), /leave at least 1/);
  refused(() => tokenDataset({ train: [{ ids: [1, 2], prompt: 1, weight: Number.NaN }] }), /weight NaN/);
});

test("texts that do not fit the model are refused", () => {
  const check = (dataset: Dataset) => checkDataset(dataset, llama.architecture, llama.config);
  check(tokens);
  refused(() => check(tokenDataset({ train: [{ ids: [1, 10], prompt: 0 }] })), /id 10 at 1 is outside/);
  refused(() => check(tokenDataset({ train: [{ ids: [1, -1], prompt: 0 }] })), /id -1/);
  refused(() => check(tokenDataset({ train: [{ ids: [1, 2, 3, 4, 5, 6], prompt: 0 }] })), /cut it to 5/);
  refused(() => check(tokenDataset({})), /train split is empty/);
  refused(() => check(tokenDataset({ train: [{ ids: [1, 2], prompt: 0, weight: 0 }] })), /weight 0/);
  const torn = {
    ...tokens,
    splits: { ...tokens.splits, train: { ...tokens.splits.train, starts: Int32Array.of(0, 9, 5) } },
  };
  refused(() => check(torn), /example/);
  refused(() => check(vectors({ labels: Int32Array.of(0, 1) })), /learns from tokens/);
});

test("vectors that do not fit the model are refused", () => {
  const check = (fields: object, loss: string) => {
    const { architecture, config } = mlp(loss);
    checkDataset(vectors(fields), architecture, config);
  };
  check({ labels: Int32Array.of(0, 2) }, "crossEntropy");
  check({ targets: new Float32Array(6) }, "squaredError");
  refused(() => check({ labels: Int32Array.of(0, 3) }, "crossEntropy"), /label 3/);
  refused(() => check({ targets: new Float32Array(6) }, "crossEntropy"), /one label/);
  refused(() => check({ targets: new Float32Array(5) }, "squaredError"), /3 target values/);
  refused(() => check({ labels: Int32Array.of(0, 1), features: new Float32Array(3) }, "crossEntropy"), /disagree/);
});

test.run();
