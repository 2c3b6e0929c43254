import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../../kernel/abi/errors.ts";
import { layOut } from "../../../../../services/device/drivers/wasm/layout.ts";
import { shapeOf } from "../../../../../services/device/drivers/wasm/shape.ts";
import { llama } from "./files.ts";

test("what a config leaves out takes the values of transformers", () => {
  const { head_dim: _, num_key_value_heads: __, rope_theta: ___, tie_word_embeddings: ____, ...rest } = llama();
  const shape = shapeOf({ ...rest, hidden_size: 48 });
  assert.equal([shape.headWidth, shape.kvHeads, shape.tied, shape.attention[0]!.visible], [8, 6, false, 0]);
  assert.is(shape.rotations[0]![1], 10_000 ** -0.25);
});

test("rotation settings are read where transformers 4 and 5 write them", () => {
  const old = shapeOf(llama({ rope_theta: 500, rope_scaling: { type: "linear", factor: 4 } }));
  const { rope_theta: _, ...rest } = llama();
  const fresh = shapeOf({ ...rest, rope_parameters: { rope_theta: 500, rope_type: "linear", factor: 4 } });
  assert.equal(old.rotations, fresh.rotations);
  assert.is(old.rotations[0]![0], 0.25);
});

test("a qwen2 config names a window that it does not use", () => {
  const config = llama({ model_type: "qwen2", sliding_window: 9 });
  const seen = (extra: object) => shapeOf({ ...config, ...extra }).attention.map(({ visible }) => visible);
  assert.equal(seen({ use_sliding_window: false }), [0, 0]);
  assert.equal(seen({}), [0, 0]);
  assert.equal(seen({ use_sliding_window: true, max_window_layers: 1 }), [0, 9]);
  assert.equal(seen({ model_type: "mistral" }), [9, 9]);
  assert.equal(seen({ model_type: "mistral", sliding_window: null }), [0, 0]);
});

test("layers of gemma3 see a window or everything, and turn by angles of their own", () => {
  const gemma = { model_type: "gemma3_text", hidden_act: undefined, rope_theta: undefined, sliding_window: 9 };
  const old = shapeOf(llama({ ...gemma, num_hidden_layers: 6 }));
  assert.equal(old.attention.at(4), { visible: 9, rotation: 1 });
  assert.equal(old.attention.at(5), { visible: 0, rotation: 0 });
  assert.is(old.rotations[0]![1], 1e6 ** -0.25);
  assert.is(old.rotations[1]![1], 1e4 ** -0.25);
  const parameters = { full_attention: { rope_theta: 500 }, sliding_attention: { rope_theta: 50 } };
  const kinds = { rope_parameters: parameters, layer_types: ["full_attention", "sliding_attention"] };
  const fresh = shapeOf(llama({ ...gemma, ...kinds }));
  assert.equal(fresh.attention, [
    { visible: 0, rotation: 0 },
    { visible: 9, rotation: 1 },
  ]);
  assert.is(fresh.rotations[0]![1], 500 ** -0.25);
  assert.is(fresh.rotations[1]![1], 50 ** -0.25);
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
    ["hidden_activation silu", { model_type: "gemma3_text", hidden_activation: "silu" }],
    ["final_logit_softcapping", { model_type: "gemma3_text", final_logit_softcapping: 30 }],
    ["layer_types must name 2", { layer_types: ["full_attention"] }],
    ["layer_types chunked_attention", { layer_types: ["full_attention", "chunked_attention"] }],
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
    { model_type: "gemma3_text", hidden_act: undefined, sliding_window: 9 },
  ])
    for (const dtype of ["f32", "int8", "int4"] as const) {
      const layout = layOut(shapeOf(llama(extra)), dtype, 9, 3);
      const matrices = layout.layers.flatMap(({ q, k, v, o, gate, up, down }) => [q, k, v, o, gate, up, down]);
      const starts = [
        ...matrices.map(({ at }) => at),
        ...[layout.stacks, layout.ids, layout.blockTables, layout.program, layout.kv, layout.logits, layout.scores],
      ].filter((at) => at > 0);
      assert.is(new Set(starts).size, starts.length);
      assert.ok(starts.every((at) => at % 64 === 0 && at < layout.bytes.total));
      assert.is(layout.bytes.kv, 9 * layout.blockBytes);
    }
});

test.run();
