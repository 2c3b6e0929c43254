// Owns what the device does to the world: drivers, memory's reservations, tokens to inboxes, announcements.
import { readFile } from "node:fs/promises";
import type { z } from "zod";
import { encode } from "../../kernel/abi/codec.ts";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import type { device } from "../../kernel/abi/syscalls/device.ts";
import type { Context } from "../../kernel/ipc/service.ts";
import type { Driver } from "./drivers/driver.ts";
import type { DriverRow } from "./drivers/registry.ts";
import { weightBytesOf } from "./drivers/wasm/layout.ts";
import type { Files } from "./files.ts";
import { Vocabulary } from "./grammar/trie.ts";
import type { Hardware } from "./hardware.ts";
import { Hold } from "./hold.ts";
import type { TrainInput, TrainOutput } from "./job.ts";
import type { LoadInput, Row, RunInput, RunOutput } from "./model.ts";
import { Outbox } from "./outbox.ts";
import type { Parking } from "./parking.ts";
import { Resident } from "./resident.ts";
import { blockBytes, blocksFor } from "./size.ts";
import { type Progress, train } from "./training.ts";
import type { Fetch, Weights } from "./weights.ts";

export interface Options {
  ctx: Context;
  hardware: Hardware;
  drivers: DriverRow[];
  /** The driver of that name, or the best one. EINVAL, ENOSYS. */
  pick: (name: string | undefined) => Driver;
  /** The path of such a file on this host, fetched if need be. ENOENT, EIO. */
  locate: (weights: Weights, fetch: Fetch) => Promise<string>;
  /** Snapshots. */
  files: Files;
}

/** Word of what is here may be lost: it is told again so often. */
const ANNOUNCE_MS = 5_000;
/** Between attempts to give memory back. */
const RELEASE_MS = 1_000;

export class Effects {
  readonly residents = new Map<string, Resident>();
  readonly hold = new Hold();
  /** Models that are here or on their way. */
  private readonly reserved = new Set<string>();
  private readonly telling: NodeJS.Timeout;
  private stopped = false;
  private readonly outbox: Outbox;
  /** Settles when the quantum handed over last has ended, well or not. */
  private turn: Promise<void> = Promise.resolve();
  private readonly trainings = new Map<string, AbortController>();

  constructor(readonly options: Options) {
    const { bus, epoch } = options.ctx;
    options.files.sweep();
    this.outbox = new Outbox((to, piece) =>
      bus.publish(to, encode(piece), { [HEADERS.type]: "chunk", [HEADERS.epoch]: String(epoch) }),
    );
    this.telling = setInterval(() => this.announce(), ANNOUNCE_MS);
  }

  /** What `device.list` says. */
  list(): z.output<typeof device.list.output> {
    const { ctx, hardware, drivers } = this.options;
    return { device: ctx.instance, ...hardware, drivers, models: this.rows(), trainings: this.trainings.size };
  }

  rows(): Row[] {
    return [...this.residents.values()].map((resident) => resident.row());
  }

  /** What became of sequences that were put aside, by model. */
  parking(): Record<string, Parking["counts"]> {
    return Object.fromEntries([...this.residents].map(([model, { parking }]) => [model, parking.counts]));
  }

  /** ENOENT when the model is not resident here. */
  resident(model: string): Resident {
    const resident = this.residents.get(model);
    if (resident === undefined)
      throw new SomaError("ENOENT", `${model} is not resident on ${this.options.ctx.instance}: call device.load first`);
    return resident;
  }

  /** Tells whoever keeps track of devices, at start and after each change. */
  announce(): void {
    const { ctx } = this.options;
    // A report may be lost on its way: whoever waits for one that is not owed any more learns of that here.
    const unanswered = ctx.server.running().flatMap(({ call, id }) => (call === "run" ? [id] : []));
    ctx.event("device", { ...this.list(), epoch: ctx.epoch, unanswered });
  }

  async load(input: LoadInput): Promise<Row> {
    const { ctx, hardware, pick, locate, files } = this.options;
    const driver = pick(input.driver);
    const weights = await locate(input.files.weights, (blob) => this.read(blob));
    const { vocabulary } = input.files;
    const spelt = vocabulary && (await readFile(await locate(vocabulary, (blob) => this.read(blob))));
    const weightBytes = weightBytesOf(input.config, input.dtype);
    const usedBytes = this.rows().reduce((sum, row) => sum + row.weightBytes + row.kvBytes, 0);
    const kvBlocks = blocksFor(
      input.config,
      weightBytes,
      { budgetBytes: hardware.budgetBytes, usedBytes },
      input.kvBytes,
    );
    try {
      await this.reserve(input.model, weightBytes, kvBlocks * blockBytes(input.config));
      const loaded = await driver.load({
        config: input.config,
        weights,
        weightsHash: input.files.weights.sha256,
        vocabulary: spelt && Vocabulary.from(spelt),
        dtype: input.dtype,
        kvBlocks,
        threads: hardware.cores,
      });
      const aside = {
        files,
        warn: (message: string, error: Error) =>
          ctx.log.warn({ model: input.model, error: error.message }, `${message}: it is prefilled again`),
      };
      const resident = new Resident(input.model, driver.name, loaded, aside, ctx.tracer);
      this.residents.set(input.model, resident);
      const row = resident.row();
      // The figures were an estimate before.
      await this.reserve(input.model, row.weightBytes, row.kvBytes);
      await this.place(row);
      ctx.log.info({ model: input.model, driver: driver.name, blocks: row.blocks }, "model resident");
      return row;
    } catch (error) {
      await this.unload(input.model);
      throw error;
    }
  }

  async unload(model: string): Promise<{ freedBytes: number }> {
    const resident = this.residents.get(model);
    this.residents.delete(model);
    this.reserved.delete(model);
    await resident?.loaded.unload();
    await Promise.all(["weights", "kv"].map((kind) => this.release(model, `${model}/${kind}`)));
    return { freedBytes: resident?.loaded.bytes.total ?? 0 };
  }

  /** Quanta of all models take turns: two at once would only slow each other down, and no policy could tell whom. */
  run(input: RunInput): Promise<RunOutput> {
    const resident = this.resident(input.model);
    const mine = this.turn.then(() => resident.run(input, this.outbox));
    this.turn = mine.then(
      () => {},
      () => {},
    );
    return mine;
  }

  /** Trains for the caller of `mid`, who gets the progress as chunks. */
  async train(mid: string, input: TrainInput, progress: (progress: Progress) => void): Promise<TrainOutput> {
    const { ctx, hardware } = this.options;
    const request = ctx.server.request(mid);
    const stop = new AbortController();
    this.trainings.set(mid, stop);
    // Whoever decides when training rests hears of it.
    this.announce();
    try {
      return await train(input, {
        client: ctx.client,
        as: {
          for: request?.principal ?? { principal: ctx.instance },
          ...(request?.traceparent ? { traceparent: request.traceparent } : {}),
        },
        budgetBytes: hardware.budgetBytes,
        signal: stop.signal,
        hold: this.hold,
        progress: (chunk) => {
          progress(chunk);
          // A slow reader misses some figures, but no checkpoint.
          if (request !== undefined && (!request.congested || chunk.checkpoint)) void request.emit(chunk);
        },
      });
    } finally {
      this.trainings.delete(mid);
      this.announce();
    }
  }

  stopTraining(mid: string): void {
    this.trainings.get(mid)?.abort();
  }

  /** Ends what runs and gives memory and threads back. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.telling);
    for (const training of this.trainings.values()) training.abort();
    await Promise.all([...this.residents.values()].map((resident) => resident.loaded.unload()));
    // Others go on from what is on its way to files.
    await this.options.files.idle();
  }

  /** Bytes of a blob, piece by piece. */
  async *read(blob: string): AsyncGenerator<Uint8Array> {
    for await (const { data } of this.options.ctx.client.stream("memory.read", { blob })) yield data;
  }

  private async reserve(model: string, weights: number, kv: number): Promise<void> {
    this.reserved.add(model);
    const { client, instance } = this.options.ctx;
    for (const [kind, bytes] of [
      ["weights", weights],
      ["kv", kv],
    ] as const)
      await client.call("memory.reserve", { device: instance, holder: `${model}/${kind}`, kind, bytes });
  }

  /** Told until memory answers or the model is loaded anew: of what never became resident no announcement tells. */
  private async release(model: string, holder: string): Promise<void> {
    const { client, instance, log, crash } = this.options.ctx;
    try {
      await client.call("memory.release", { device: instance, holder });
    } catch (error) {
      if (!isSomaError(error)) throw error;
      log.warn({ holder, code: error.code }, "memory did not hear of a release: it is told again");
      setTimeout(() => {
        if (!this.stopped && !this.reserved.has(model)) this.release(model, holder).catch(crash);
      }, RELEASE_MS).unref();
    }
  }

  private async place({ model, blocks, blockBytes, context, numerics }: Row): Promise<void> {
    const { client, instance, epoch, log } = this.options.ctx;
    try {
      await client.call("scheduler.place", { device: instance, epoch, model, blocks, blockBytes, context, numerics });
    } catch (error) {
      // A scheduler that is away asks every device when it comes back.
      if (!(error instanceof SomaError)) throw error;
      log.warn({ model, code: error.code }, "the scheduler did not hear of a model");
    }
  }
}

/** Tokens go only to instances of the service that asks on behalf of apps. EPERM for any other inbox. */
export function checkReceivers({ seqs }: RunInput): void {
  for (const { seq, start } of seqs) {
    if (start === undefined) continue;
    const [inbox, caller = "", ...rest] = start.to.split(".");
    if (inbox === "_INBOX" && serviceOf(caller) === "model" && rest.length > 0 && !/[*>\s]/.test(start.to)) continue;
    throw new SomaError(
      "EPERM",
      `"${seq}" wants its tokens sent to ${start.to}, which is no inbox of a model instance`,
    );
  }
}
