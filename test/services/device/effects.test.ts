// Owns the tests of how a device asks memory for room and gives it back, with a memory that refuses and does not hear.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { Effects, type Options } from "../../../services/device/effects.ts";

const CONFIG = {
  model_type: "llama",
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 1,
  intermediate_size: 16,
  vocab_size: 32,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
};

function startEffects(answer: (name: string, holder: string) => void) {
  const asked: string[] = [];
  const client = {
    call: async (name: string, { holder }: { holder: string }) => {
      asked.push(`${name} ${holder}`);
      answer(name, holder);
    },
  };
  const log = { info: () => {}, warn: () => {} };
  const crash = (error: unknown) => assert.unreachable(`${error}`);
  const effects = new Effects({
    ctx: {
      client,
      log,
      crash,
      instance: "device-1",
      epoch: 1,
      bus: {},
      server: { running: () => [] },
      event: () => {},
    },
    hardware: { cores: 1, memoryBytes: 1e6, budgetBytes: 1e6, gpus: [] },
    drivers: [],
    pick: () => ({ load: () => assert.unreachable("it was loaded without room") }),
    locate: async () => "",
    files: { sweep: () => {}, idle: async () => {} },
  } as unknown as Options);
  return { effects, asked };
}

const input = {
  model: "m",
  config: CONFIG,
  files: { dir: "", weights: { path: "", sha256: "", bytes: 0 } },
  dtype: "f32" as const,
};

test("a model whose KV finds no room gives its weights' room back, until memory has heard it", async () => {
  let deaf = 2;
  const { effects, asked } = startEffects((name, holder) => {
    if (name === "memory.reserve" && holder === "m/kv") throw new SomaError("EAGAIN", "others hold too much");
    if (name === "memory.release" && holder === "m/weights" && deaf-- > 0) throw new SomaError("ETIME", "no answer");
  });
  const refused = await effects.load(input).catch((error) => error);
  assert.is(refused.code, "EAGAIN");
  while (deaf >= 0) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(
    asked.filter((line) => line === "memory.release m/weights").length,
    3,
    "two that were not heard, and one that was",
  );
  assert.ok(asked.includes("memory.release m/kv"));
  await effects.stop();
});

test.run();
