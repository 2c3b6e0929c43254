// Owns a simulated device: it stands for the hardware. Loads by reserving, computes quanta one after the other, sends tokens to inboxes.
import type { z } from "zod";
import { encode } from "../../kernel/abi/codec.ts";
import { SomaError } from "../../kernel/abi/errors.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { BLOCK_TOKENS } from "../../kernel/abi/limits.ts";
import type { device as table } from "../../kernel/abi/syscalls/device.ts";
import { serviceProgram } from "./service.ts";

export const BUDGET = 1_000;
export const BLOCKS = 24;
/** Bytes of each model. */
export const SIZES: Record<string, { weights: number; kv: number }> = {
  tiny: { weights: 300, kv: 120 },
  other: { weights: 350, kv: 130 },
};
export const MODELS = Object.keys(SIZES);

type Quantum = z.output<typeof table.run.input>;
type Report = z.output<typeof table.run.output>;

interface Sequence {
  ids: number[];
  /** How many of them are the prompt. */
  prompt: number;
  maxNew: number;
  to: string;
  blocks: number;
}

/** The token after these: the same on every device, in every epoch. */
export function nextToken(ids: readonly number[]): number {
  return ((ids.at(-1) ?? 0) * 31 + ids.length * 37 + 7) % 997;
}

export const device = serviceProgram(async ({ world, bus, client, instance, epoch, event, crash }) => {
  const models = new Map<string, Map<string, Sequence>>();
  let turn: Promise<unknown> = Promise.resolve();
  let interrupted = false;
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const used = (sequences: Map<string, Sequence>) =>
    [...sequences.values()].reduce((sum, { blocks }) => sum + blocks, 0);
  const row = (model: string) => ({
    model,
    driver: "sim",
    numerics: "sim",
    weightBytes: SIZES[model]!.weights,
    kvBytes: SIZES[model]!.kv,
    blockBytes: 5,
    blocks: BLOCKS,
    freeBlocks: BLOCKS - used(models.get(model)!),
    context: 4096,
    vocab: 1000,
    sequences: models.get(model)!.size,
  });
  const list = () => ({
    device: instance,
    cores: 1,
    memoryBytes: BUDGET,
    budgetBytes: BUDGET,
    gpus: [],
    drivers: [],
    models: [...models.keys()].map(row),
  });
  const announce = () => event("device", { ...list(), epoch });
  const loading = new Map<string, Promise<unknown>>();

  async function load(model: string): Promise<void> {
    const reserved: string[] = [];
    try {
      for (const kind of ["weights", "kv"] as const) {
        const holder = `${model}/${kind}`;
        await client.call("memory.reserve", { device: instance, holder, kind, bytes: SIZES[model]![kind] });
        reserved.push(holder);
      }
    } catch (error) {
      for (const holder of reserved) client.call("memory.release", { device: instance, holder }).catch(expected);
      throw error;
    }
    await pause(world.random.between(10, 120));
    models.set(model, new Map());
    announce();
  }

  async function run(input: Quantum): Promise<Report> {
    const { model, quantum, seqs, maxSteps, maxMs } = input;
    const sequences = models.get(model);
    if (sequences === undefined) throw new SomaError("ENOENT", `${model} is not resident here: load it first`);
    const began = performance.now();
    const report = new Map<string, Report["seqs"][number]>();
    for (const { seq, start } of seqs) {
      if (start !== undefined) {
        const prompt = start.ids.length - start.generated;
        world.check(
          "a resumed sequence goes on with its own tokens",
          start.ids.every((id, i) => i < prompt || id === nextToken(start.ids.slice(0, i))),
          () => `${seq} was handed on with ${start.ids}`,
        );
        sequences.delete(seq);
        const blocks = Math.ceil((prompt + start.maxNew) / BLOCK_TOKENS);
        if (used(sequences) + blocks <= BLOCKS)
          sequences.set(seq, { ids: [...start.ids], prompt, maxNew: start.maxNew, to: start.to, blocks });
      }
      const known = sequences.has(seq);
      report.set(seq, {
        seq,
        computed: start?.ids.length ?? 0,
        cached: 0,
        newIds: [],
        finish: known ? null : start === undefined ? "error" : "blocks",
        ...(known ? {} : { message: `no sequence ${seq}` }),
      });
    }
    interrupted = false;
    let steps = 0;
    for (; steps < maxSteps && performance.now() - began < maxMs && !interrupted; steps++) {
      const going = [...report.values()].filter(({ finish }) => finish === null);
      if (going.length === 0) break;
      await pause(world.random.between(1, 6));
      for (const part of going) {
        const sequence = sequences.get(part.seq);
        // Dropped meanwhile.
        if (sequence === undefined) continue;
        const { ids, prompt, maxNew, to } = sequence;
        const pos = ids.length - prompt;
        const id = nextToken(ids);
        ids.push(id);
        part.newIds.push(id);
        part.computed += 1;
        if (bus.connected) bus.publish(to, encode({ pos, ids: [id] }), { [HEADERS.type]: "chunk" });
        if (pos + 1 < maxNew) continue;
        part.finish = "length";
        sequences.delete(part.seq);
      }
    }
    return {
      quantum,
      ms: performance.now() - began,
      steps,
      computedTokens: [...report.values()].reduce((sum, { computed }) => sum + computed, 0),
      seqs: [...report.values()],
      freeBlocks: BLOCKS - used(sequences),
    };
  }

  world.devices.set(instance, { used: () => [...models.values()].reduce((sum, one) => sum + used(one), 0), models });
  // What it has is told as soon as it is ready, and now and then.
  const telling = setInterval(announce, 5_000);
  setTimeout(announce, 0);
  return {
    handlers: {
      list,
      load: async ({ model }: { model: string }) => {
        if (!models.has(model)) {
          const running = loading.get(model) ?? load(model).finally(() => loading.delete(model));
          loading.set(model, running);
          await running;
        }
        return row(model);
      },
      unload: async ({ model }: { model: string }) => {
        if (!models.delete(model)) throw new SomaError("ENOENT", `${model} is not resident here`);
        announce();
        for (const kind of ["weights", "kv"])
          await client.call("memory.release", { device: instance, holder: `${model}/${kind}` }).catch(expected);
        return { freedBytes: SIZES[model]!.weights };
      },
      run: (input: Quantum) => {
        const turned = turn.then(() => run(input));
        turn = turned.catch(() => {});
        return turned;
      },
      drop: ({ model, seqs, all }: { model: string; seqs: string[]; all?: boolean }) => {
        const sequences = models.get(model);
        for (const seq of all ? [...(sequences?.keys() ?? [])] : seqs) sequences?.delete(seq);
        return {};
      },
      interrupt: () => {
        interrupted = true;
        return {};
      },
    },
    stop: () => clearInterval(telling),
  } as never;

  function expected(error: unknown): void {
    if (!(error instanceof SomaError)) crash(error);
  }
});
