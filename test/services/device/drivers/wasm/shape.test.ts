import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../../kernel/abi/errors.ts";
import { layOut } from "../../../../../services/device/drivers/wasm/layout.ts";
import { shapeOf } from "../../../../../services/device/drivers/wasm/shape.ts";
import { llama } from "./files.ts";

test("what a config leaves out takes the values of transformers", () => {
  const { head_dim: _, num_key_value_heads: __, rope_theta: ___, tie_word_embeddings: ____, ...rest } = llama();
  const shape = shapeOf({ ...rest, hidden_size: 48 });
  assert.equal([shape.headWidth, shape.kvHeads, shape.tied, shape.visible], [8, 6, false, 0]);
  assert.is(shape.frequencies[1], 10_000 ** -0.25);
});

test("rotation settings are read where transformers 4 and 5 write them", () => {
  const old = shapeOf(llama({ rope_theta: 500, rope_scaling: { type: "linear", factor: 4 } }));
  const { rope_theta: _, ...rest } = llama();
  const fresh = shapeOf({ ...rest, rope_parameters: { rope_theta: 500, rope_type: "linear", factor: 4 } });
  assert.equal(old.frequencies, fresh.frequencies);
  assert.is(old.frequencies[0], 0.25);
});

test("a qwen2 config names a window that it does not use", () => {
  const config = llama({ model_type: "qwen2", sliding_window: 9 });
  assert.is(shapeOf({ ...config, use_sliding_window: false }).visible, 0);
  assert.is(shapeOf(config).visible, 0);
  assert.is(shapeOf({ ...config, model_type: "mistral" }).visible, 9);
  assert.is(shapeOf({ ...config, model_type: "mistral", sliding_window: null }).visible, 0);
});

test("configs that the kernels cannot run are refused with the field's name", () => {
  const cases: [string, Record<string, unknown>][] = [
    ["model_type gpt2", { model_type: "gpt2" }],
    ["vocab_size", { vocab_size: undefined }],
    ["hidden_size", { hidden_size: "24" }],
    ["hidden_size 26", { hidden_size: 26 }],
    ["head_dim 12", { head_dim: 12 }],
    ["6 heads", { num_key_value_heads: 4 }],
    ["hidden_act gelu", { hidden_act: "gelu" }],
    ["rope_type yarn", { rope_scaling: { rope_type: "yarn", factor: 2 } }],
  ];
  for (const [what, extra] of cases)
    assert.throws(
      () => shapeOf(llama(extra)),
      (error: Error) => isSomaError(error, "EINVAL") && error.message.includes(what),
      what,
    );
});

test("no two buffers of a layout overlap, whatever the shape", () => {
  for (const extra of [
    {},
    { model_type: "qwen3", tie_word_embeddings: false },
    { attention_bias: true, mlp_bias: true },
  ])
    for (const dtype of ["f32", "int8"] as const) {
      const layout = layOut(shapeOf(llama(extra)), dtype, 9, 3);
      const matrices = layout.layers.flatMap(({ q, k, v, o, gate, up, down }) => [q, k, v, o, gate, up, down]);
      const starts = [
        ...matrices.flatMap(({ at, scales }) => [at, scales]),
        ...[layout.stacks, layout.ids, layout.blockTables, layout.program, layout.kv, layout.logits, layout.scores],
      ].filter((at) => at > 0);
      assert.is(new Set(starts).size, starts.length);
      assert.ok(starts.every((at) => at % 64 === 0 && at < layout.bytes.total));
      assert.is(layout.bytes.kv, 9 * layout.blockBytes);
    }
});

test.run();
