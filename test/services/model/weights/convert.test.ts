import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../../kernel/abi/errors.ts";
import { readWeights } from "../../../../services/device/engine/safetensors.ts";
import { loadTokenizer } from "../../../../services/model/text/tokenizer.ts";
import { convertGguf } from "../../../../services/model/weights/convert.ts";
import { readGguf } from "../../../../services/model/weights/gguf.ts";
import { dequantise } from "../../../../services/model/weights/quants.ts";
import { joinShards } from "../../../../services/model/weights/shards.ts";

const fixtures = fileURLToPath(new URL("../../../fixtures/models", import.meta.url));
const fixture = (...parts: string[]) => path.join(fixtures, ...parts);
const out = mkdtempSync(path.join(tmpdir(), "soma-gguf-"));
process.on("exit", () => rmSync(out, { recursive: true, force: true }));

const json = (file: string) => JSON.parse(readFileSync(file, "utf8"));
const weightsOf = (file: string) => readWeights(readFileSync(file));

async function refused(work: Promise<unknown>, what: string): Promise<void> {
  const error = await work.then(
    () => new Error("nothing was refused"),
    (error: Error) => error,
  );
  assert.ok(isSomaError(error, "EINVAL") && error.message.includes(what), `expected ${what}, got ${error}`);
}

test("each block format becomes the numbers that llama.cpp's own reader gives, to the last bit", async () => {
  const file = fixture("quants.gguf");
  const bytes = readFileSync(file);
  const expected = weightsOf(fixture("quants.safetensors"));
  const { tensors } = await readGguf(file);
  assert.equal([...tensors.keys()].sort(), ["Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"]);
  for (const { name, type, at, bytes: length, shape } of tensors.values()) {
    assert.equal([type as string, shape], [name, [2, 512]]);
    const found = dequantise(type, bytes.subarray(at, at + length));
    assert.equal(found, new Float32Array(expected.get(name)!.data), name);
  }
});

for (const name of ["llama", "gemma3"])
  test(`${name} from a GGUF file has the config and the numbers of its safetensors`, async () => {
    await convertGguf(fixture(`${name}.gguf`), out);
    const found = weightsOf(path.join(out, "model.safetensors"));
    const expected = weightsOf(fixture(name, "model.safetensors"));
    assert.equal([...found.keys()].sort(), [...expected.keys()].sort());
    for (const [key, { shape, data }] of expected) {
      assert.equal(found.get(key)!.shape, shape, key);
      // Gemma's gains are stored with 1 added: one rounding.
      const off = data.reduce((most, value, i) => Math.max(most, Math.abs(value - found.get(key)!.data[i]!)), 0);
      assert.ok(off <= 1e-7, `${key} is off by ${off}`);
    }
    const [config, original] = [json(path.join(out, "config.json")), json(fixture(name, "config.json"))];
    for (const key of ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"])
      assert.equal(config[key], original[key], key);
    for (const key of ["num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"])
      assert.equal(config[key], original[key], key);
    for (const key of ["rope_theta", "rope_scaling", "sliding_window", "rope_local_base_freq"])
      assert.equal(config[key], original[key], key);
    assert.is(Math.fround(config.rms_norm_eps), Math.fround(original.rms_norm_eps));
    assert.is(config.tie_word_embeddings, true);
  });

test("a byte-level vocabulary from GGUF gives the ids of the reference tokenizer, and its texts back", async () => {
  await convertGguf(fixture("llama.gguf"), out);
  const tokenizer = loadTokenizer(json(path.join(out, "tokenizer.json")));
  const { texts, ids } = json(fixture("vocabularies.json"));
  for (const [i, text] of texts.entries()) {
    assert.equal(tokenizer.encodeTemplate(text), ids.gpt2[i], text);
    assert.is(tokenizer.decode(ids.gpt2[i], { specials: true }), text);
  }
  assert.equal(json(path.join(out, "generation_config.json")), { eos_token_id: [2] });
  assert.match(json(path.join(out, "tokenizer_config.json")).chat_template, "<|im_start|>");
});

test("a SentencePiece vocabulary from GGUF gives the ids of SentencePiece, and its texts back", async () => {
  await convertGguf(fixture("gemma3.gguf"), out);
  const tokenizer = loadTokenizer(json(path.join(out, "tokenizer.json")));
  const { texts, ids } = json(fixture("vocabularies.json"));
  const plain = (texts as string[]).filter((text) => !text.includes("<|"));
  for (const [i, text] of plain.entries()) {
    assert.equal(tokenizer.encode(text), ids.llama[i], text);
    assert.is(tokenizer.decode(ids.llama[i]), text);
  }
  assert.equal([...tokenizer.opening], [1]);
});

test("a GGUF file that is cut short or something else is refused by name", async () => {
  const bytes = readFileSync(fixture("llama.gguf"));
  const file = path.join(out, "broken.gguf");
  for (const [content, what] of [
    [bytes.subarray(0, bytes.length - 9), "is cut short"],
    [bytes.subarray(0, 300), "is cut short"],
    [Buffer.from("GGUF"), "is cut short"],
    [Buffer.concat([Buffer.from("GGML"), bytes.subarray(4)]), "is no GGUF file"],
    [Buffer.concat([Buffer.from("GGUF\x09\0\0\0"), bytes.subarray(8)]), "GGUF version 9"],
    [
      Buffer.from(
        bytes
          .toString("latin1")
          .replace("general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", (t) => t.replace("llama", "mamba")),
        "latin1",
      ),
      "architecture mamba is not supported",
    ],
    [Buffer.from(bytes.toString("latin1").replace("ffn_gate.weight", "ffn_gort.weight"), "latin1"), "ffn_gort.weight"],
  ] as const) {
    writeFileSync(file, content);
    await refused(convertGguf(file, out), what);
  }
});

test("shards become one file, and a shard that lacks a tensor is named", async () => {
  const joined = path.join(out, "joined.safetensors");
  await joinShards(fixture("mistral"), joined);
  const index = json(fixture("mistral", "model.safetensors.index.json"));
  const found = weightsOf(joined);
  assert.equal([...found.keys()].sort(), Object.keys(index.weight_map).sort());
  for (const [key, shard] of Object.entries(index.weight_map))
    assert.equal(found.get(key), weightsOf(fixture("mistral", shard as string)).get(key), key);
  const dir = mkdtempSync(path.join(out, "shards-"));
  const [first] = [...new Set(Object.values(index.weight_map as Record<string, string>))].sort();
  writeFileSync(path.join(dir, first!), readFileSync(fixture("mistral", first!)));
  const name = "model.safetensors.index.json";
  writeFileSync(path.join(dir, name), JSON.stringify({ weight_map: { "not.there": first } }));
  await refused(joinShards(dir, joined), "has no not.there");
  writeFileSync(path.join(dir, name), JSON.stringify({ weight_map: { a: "../x.safetensors" } }));
  await refused(joinShards(dir, joined), 'names "../x.safetensors"');
});

test.run();
