// Owns the simulated device: the product's machines, effects, KV and sequences over a simulated driver and disk.
import { startDevice } from "../../services/device/actor.ts";
import { calls } from "../../services/device/calls.ts";
import { weightBytesOf } from "../../services/device/drivers/wasm/layout.ts";
import { Effects } from "../../services/device/effects.ts";
import type { Files } from "../../services/device/files.ts";
import { blockBytes } from "../../services/device/size.ts";
import { nextToken, simDriver, VOCAB } from "./driver.ts";
import { serviceProgram } from "./service.ts";

export const BLOCKS = 24;

function config(layers: number) {
  return {
    model_type: "llama",
    hidden_size: 8,
    num_hidden_layers: layers,
    num_attention_heads: 1,
    intermediate_size: 16,
    vocab_size: VOCAB,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
  };
}

/** By model, what `device.load` is asked with. */
export const LOADS: Record<string, { config: Record<string, unknown>; kvBytes: number }> = Object.fromEntries(
  Object.entries({ tiny: config(1), other: config(2) }).map(([model, plain]) => {
    const sim_weights = weightBytesOf(plain, "f32");
    return [model, { config: { ...plain, sim_weights }, kvBytes: BLOCKS * blockBytes(plain) }];
  }),
);
export const MODELS = Object.keys(LOADS);

/** Both models fit, and nothing else does. */
const BUDGET = Object.values(LOADS).reduce((sum, { config, kvBytes }) => sum + Number(config.sim_weights) + kvBytes, 0);

export const device = serviceProgram(async (ctx) => {
  const { world, instance } = ctx;
  const effects = new Effects({
    ctx: ctx as never,
    hardware: { cores: 1, memoryBytes: BUDGET, budgetBytes: BUDGET, gpus: [] },
    drivers: [],
    pick: () => simDriver(world),
    locate: async () => "weights",
    files: world.files as unknown as Files,
  });
  const machine = startDevice(ctx as never, effects);
  const handlers = calls(machine, effects);
  world.devices.set(instance, effects.residents);
  effects.announce();
  const run: typeof handlers.run = (input, request) => {
    for (const { seq, start } of input.seqs) {
      if (start === undefined) continue;
      const prompt = start.ids.length - start.generated;
      world.check(
        "a resumed sequence goes on with its own tokens",
        start.ids.every((id, i) => i < prompt || id === nextToken(start.ids.slice(0, i))),
        () => `${seq} was handed on with ${start.ids}`,
      );
    }
    return handlers.run(input, request);
  };
  return { handlers: { ...handlers, run }, stop: () => effects.stop() } as never;
});
