// Owns the simulated driver: arithmetic whose next token depends on every id in the KV blocks it is given, as a model's does; and the
// snapshot files of the simulated host.
import type { Driver, LoadedModel, Quantum, QuantumReport, Token } from "../../services/device/drivers/driver.ts";
import type { Files } from "../../services/device/files.ts";
import { blockBytes } from "../../services/device/size.ts";
import type { World } from "./world.ts";

export const VOCAB = 997;

/** The token after these: the same on every device, in every epoch. */
export function nextToken(ids: readonly number[]): number {
  let hash = 7;
  for (const id of ids) hash = (hash * 31 + id + 1) >>> 0;
  return hash % VOCAB;
}

/** Prefill and decoding take their time; what is computed is kept in blocks, and read from there. */
export function simDriver(world: World): Driver {
  const pause = (from: number, to: number) =>
    new Promise((resolve) => setTimeout(resolve, world.random.between(from, to)));
  return {
    name: "sim",
    probe: () => ({ ok: true, why: "simulated" }),
    load: async ({ config, kvBlocks }) => {
      await pause(10, 120);
      return new SimModel(config, kvBlocks, pause) as LoadedModel;
    },
  };
}

class SimModel implements LoadedModel {
  readonly numerics = "sim";
  readonly blockTokens = 16;
  readonly vocab = VOCAB;
  readonly width = 1;
  readonly context: number;
  readonly bytes: LoadedModel["bytes"];
  /** The id at each place of each block; -1 where nothing was computed. */
  private readonly kv: Int32Array;
  private readonly canceled = new Set<string>();

  constructor(
    config: Record<string, unknown>,
    readonly blocks: number,
    private readonly pause: (from: number, to: number) => Promise<unknown>,
  ) {
    this.context = Number(config.max_position_embeddings);
    const block = blockBytes(config);
    const weights = Number(config.sim_weights);
    this.bytes = { weights, kv: blocks * block, total: weights + blocks * block, block };
    this.kv = new Int32Array(blocks * this.blockTokens).fill(-1);
  }

  async run({ id, maxSteps, maxMs, tokenBudget, seqs }: Quantum, onTokens: (tokens: Token[]) => void) {
    const began = performance.now();
    const going = seqs.map((part) => ({ ...part, ids: [...part.ids], fed: 0, newIds: [] as number[] }));
    const finish = new Map<string, "length" | "blocks">();
    this.canceled.clear();
    let [steps, computedTokens] = [0, 0];
    const live = () =>
      going.filter(({ seq, fed, ids }) => !finish.has(seq) && !this.canceled.has(seq) && fed < ids.length);
    while (steps < maxSteps && performance.now() - began < maxMs && !this.canceled.has("") && live().length > 0) {
      await this.pause(1, 6);
      steps += 1;
      let budget = tokenBudget;
      const tokens: Token[] = [];
      for (const one of live()) {
        const { blocks, ids, sample, newIds, maxNew, seq } = one;
        for (; one.fed < ids.length && budget > 0; one.fed++, budget--) {
          const at = one.pos + one.fed;
          if (at >= blocks.length * this.blockTokens) {
            finish.set(seq, "blocks");
            break;
          }
          this.kv[this.place(blocks, at)] = ids[one.fed]!;
          computedTokens += 1;
        }
        if (one.fed < ids.length || sample === null) continue;
        const end = one.pos + one.fed;
        const next = nextToken(Array.from({ length: end }, (_, i) => this.kv[this.place(blocks, i)]!));
        tokens.push({ seq, pos: end, id: next });
        newIds.push(next);
        ids.push(next);
        if (newIds.length >= maxNew || end + 1 >= this.context) finish.set(seq, "length");
      }
      onTokens(tokens);
    }
    const parts = going.map(({ seq, pos, fed, newIds }) => {
      return { seq, pos: pos + fed, newIds, finish: finish.get(seq) ?? null };
    });
    const report: QuantumReport = {
      id,
      seqs: parts,
      computedTokens,
      steps,
      ms: performance.now() - began,
      lostMs: 0,
      cancelled: this.canceled.has(""),
    };
    return report;
  }

  private place(blocks: readonly number[], position: number): number {
    return blocks[Math.floor(position / this.blockTokens)]! * this.blockTokens + (position % this.blockTokens);
  }

  cancel(_quantum: string, seq = ""): void {
    this.canceled.add(seq);
  }

  abandon(quantum: string): void {
    this.cancel(quantum);
  }

  /** Padded to the size that a block has. */
  readBlocks(blocks: readonly number[]): Uint8Array {
    const all = new Uint8Array(blocks.length * this.bytes.block);
    for (const [i, block] of blocks.entries())
      all.set(new Uint8Array(this.kv.slice(block * 16, (block + 1) * 16).buffer), i * this.bytes.block);
    return all;
  }

  writeBlocks(blocks: readonly number[], bytes: Uint8Array): void {
    for (const [i, block] of blocks.entries()) {
      const from = i * this.bytes.block;
      this.kv.set(new Int32Array(bytes.slice(from, from + 64).buffer), block * 16);
    }
  }

  copyBlock(from: number, to: number): void {
    this.kv.copyWithin(to * 16, from * 16, (from + 1) * 16);
  }

  async unload(): Promise<void> {
    this.canceled.add("");
  }
}

/** What services/device/files.ts keeps on the host's disk, which outlives every device on it. */
export class SimFiles {
  private readonly snapshots = new Map<string, { head: Uint8Array; blocks: Map<string, Uint8Array> }>();

  readonly congested = false;

  has(): boolean {
    return false;
  }

  settled(): undefined {}

  async idle(): Promise<void> {}

  async write(...[name, head, blocks]: Parameters<Files["write"]>): Promise<number> {
    const kept = new Map(blocks.map((block) => [block.name, block.bytes!]));
    this.snapshots.set(name, { head, blocks: kept });
    return head.length + [...kept.values()].reduce((sum, { length }) => sum + length, 0);
  }

  head(name: string): Uint8Array | undefined {
    return this.snapshots.get(name)?.head;
  }

  block(snapshot: string, name: string): Uint8Array | undefined {
    return this.snapshots.get(snapshot)?.blocks.get(name);
  }

  drop(name: string): void {
    this.snapshots.delete(name);
  }

  sweep(): void {}
}
