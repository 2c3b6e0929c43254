import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasm } from "../../../../../services/device/drivers/wasm/driver.ts";
import { file, llama, randomWeights, safetensors } from "./files.ts";
import { refusal } from "./run.ts";

const config = llama();
const weights = randomWeights(config);
const bytes = safetensors(weights);
const path = file(bytes);

test("weights that cannot be right are refused with the tensor's name, and leave no thread", async () => {
  const loading =
    (spec: object, given = config) =>
    () =>
      wasm.load({ config: given, weights: path, dtype: "f32", kvBlocks: 4, threads: 1, ...spec });
  assert.match(await refusal("ENOENT", loading({ weights: `${path}.gone` })), "cannot open");
  assert.match(
    await refusal("EINVAL", loading({ weights: file(bytes.subarray(0, bytes.length - 10)) })),
    "cut off: model.norm.weight",
  );
  assert.match(await refusal("EINVAL", loading({ weights: file(bytes.subarray(0, 5)) })), "shorter than");
  assert.match(await refusal("EINVAL", loading({ weights: file(bytes.subarray(0, 90)) })), "longer than the file");
  const mangled = Buffer.from(bytes);
  mangled[8] = 88;
  assert.match(await refusal("EINVAL", loading({ weights: file(mangled) })), "not JSON");
  const norm = { shape: [24], data: new Float32Array(24).fill(1) };
  norm.data[23] = Number.NaN;
  for (const type of ["F32", "BF16"] as const) {
    const damaged = file(safetensors({ ...weights, "model.norm.weight": norm }, type));
    assert.match(
      await refusal("EINVAL", loading({ weights: damaged })),
      "model.norm.weight has numbers that are not finite",
    );
  }
  const json = Buffer.from('{"model.norm.weight":{"dtype":"F32"}}');
  const short = Buffer.concat([Buffer.from([json.length, 0, 0, 0, 0, 0, 0, 0]), json]);
  assert.match(await refusal("EINVAL", loading({ weights: file(short) })), "model.norm.weight has no shape");
  const { "model.layers.1.mlp.up_proj.weight": _, ...rest } = weights;
  assert.match(
    await refusal("EINVAL", loading({ weights: file(safetensors(rest)) })),
    "no tensor model.layers.1.mlp.up_proj",
  );
  assert.match(
    await refusal("EINVAL", loading({}, llama({ intermediate_size: 48 }))),
    /mlp.gate_proj.weight is \[44,24\].*\[48,24\]/,
  );
  assert.match(await refusal("EINVAL", loading({}, llama({ model_type: "gpt2" }))), "gpt2 is not supported");
  assert.match(await refusal("EINVAL", loading({ threads: 0 })), "threads");
  assert.match(await refusal("EINVAL", loading({ kvBlocks: 0 })), "kvBlocks");
  assert.match(await refusal("ENOMEM", loading({ kvBlocks: 2 ** 23 })), /needs .* MB \(weights .* KV .*4096 MB/);
});

test.run();
