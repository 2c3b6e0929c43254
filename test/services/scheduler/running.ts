// Owns a small real system for tests: memory, device and scheduler as processes, a random model resident, a client in the model service's place.
import { createHash } from "node:crypto";
import type { Principal } from "../../../kernel/abi/headers.ts";
import { servicePermissions } from "../../../kernel/abi/rights.ts";
import type { Input, Output } from "../../../kernel/abi/syscalls.ts";
import { Client } from "../../../kernel/ipc/client.ts";
import { startKernel } from "../../helpers/kernel.ts";
import { startWorld } from "../../helpers/world.ts";
import { type Config, file, llama, randomWeights, safetensors } from "../device/drivers/wasm/files.ts";

export const MODEL = "tiny@1";

export interface Answer {
  ids: number[];
  /** Positions in the order in which they came. */
  positions: number[];
  output: Output<"scheduler.run">;
}

export async function startRunning(config: Config = llama(), kvBytes = 4_000_000) {
  const world = await startWorld({ stores: true });
  process.env.SOMA_HOME = world.home.root;
  const kernel = await startKernel(world);
  const weights = safetensors(randomWeights(config));
  const path = file(weights);
  const sha256 = createHash("sha256").update(weights).digest("hex");
  const programs = { memory: await kernel.start("memory"), device: await kernel.start("device") };
  const scheduler = await kernel.start("scheduler");
  const client = new Client(await world.connect("model-1", servicePermissions("model", "model-1", 1)));

  const load = (more: Partial<Input<"device.load">> = {}) =>
    client.call("device.load", {
      model: MODEL,
      config,
      files: { dir: "", weights: { path, sha256, bytes: weights.length } },
      kvBytes,
      ...more,
    });

  return {
    world,
    kernel,
    client,
    programs: { ...programs, scheduler },
    load,
    /** The file of the weights. */
    path,
    /** Runs a sequence to its end; receivers drop positions that they have. */
    async run(
      input: Partial<Input<"scheduler.run">>,
      options: { for?: string | Principal; ttl?: number; signal?: AbortSignal } = {},
    ) {
      const { for: asker, ...rest } = options;
      const principal = typeof asker === "string" ? { principal: asker } : asker;
      const answer: Answer = { ids: [], positions: [], output: undefined as never };
      const stream = client.stream(
        "scheduler.run",
        { model: MODEL, ids: [1, 2, 3], maxNew: 8, ...input },
        {
          ...rest,
          ...(principal === undefined ? {} : { for: principal }),
          complete: ({ newTokens }) => answer.ids.length >= newTokens,
        },
      );
      for await (const { pos, ids } of stream) {
        answer.positions.push(pos);
        answer.ids.push(...ids.slice(Math.max(0, answer.ids.length - pos)));
      }
      answer.output = await stream.result;
      return answer;
    },
    freeBlocks: async () => (await client.call("device.list", {})).models[0]?.freeBlocks,
    async stop() {
      await kernel.stop();
      await world.stop();
    },
  };
}
