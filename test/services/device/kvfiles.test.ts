// Owns the proof, against a naive model, that KV stays right and none leaks when all of it happens together: blocks, the tree of
// shared prefixes, sequences put aside in memory, written, restored or computed again, eviction and cancellation.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BLOCK_TOKENS } from "../../../kernel/abi/limits.ts";
import type { LoadedModel } from "../../../services/device/drivers/driver.ts";
import { Files } from "../../../services/device/files.ts";
import { Kv } from "../../../services/device/kv.ts";
import { Parking } from "../../../services/device/parking.ts";
import { openSequence, type Sequence, type Start, share } from "../../../services/device/sequence.ts";

const TOTAL = 40;
const LIVE = 9;
/** The naive model's whole memory: the ids of each sequence. What KV holds of one is compared with these, place by place. */
interface Known {
  seq: string;
  ids: number[];
  /** Undefined while it is put aside. */
  running: Sequence | undefined;
  aside: Sequence | undefined;
}

const root = mkdtempSync(join(tmpdir(), "soma-kvfiles-"));
test.after(() => rmSync(root, { recursive: true, force: true }));

const WHAT = [
  "open",
  "compute",
  "compute",
  "compute",
  "park",
  "park",
  "resume",
  "resume",
  "makeRoom",
  "moveOut",
  "cancel",
  "evict",
  "crash",
] as const;
type Operation = [what: (typeof WHAT)[number], which: number, much: number];
const operation: fc.Arbitrary<Operation> = fc.tuple(fc.constantFrom(...WHAT), fc.nat(LIVE), fc.nat(70));

/** Ids over a tiny alphabet of whole blocks, so that prefixes collide often. */
const idAt = (seed: number, i: number) => (seed >> (Math.floor(i / BLOCK_TOKENS) % 3)) & 1;

class World {
  /** The id whose KV stands at each place of each block. */
  private readonly places = new Int32Array(TOTAL * BLOCK_TOKENS).fill(-1);
  private readonly loaded = {
    numerics: "naive",
    blocks: TOTAL,
    bytes: { weights: 0, kv: TOTAL * 64, total: TOTAL * 64, block: 64 },
    readBlocks: (blocks: number[]) =>
      Buffer.concat(blocks.map((b) => Buffer.from(this.places.slice(b * BLOCK_TOKENS, (b + 1) * BLOCK_TOKENS).buffer))),
    writeBlocks: (blocks: number[], bytes: Uint8Array) => {
      for (const [i, block] of blocks.entries())
        this.places.set(
          new Int32Array(new Uint8Array(bytes.subarray(i * 64, (i + 1) * 64)).buffer),
          block * BLOCK_TOKENS,
        );
    },
  } as unknown as LoadedModel;
  private known: Known[] = [];
  private opened = 0;
  kv!: Kv;
  private parking!: Parking;
  readonly totals = { inPlace: 0, restored: 0, anew: 0, shared: 0, lost: 0 };

  constructor(readonly files: Files) {
    this.start();
  }

  private start(): void {
    this.places.fill(-1);
    this.kv = new Kv(TOTAL);
    // A clock that stands still measures nothing: files are always tried.
    this.parking = new Parking({
      ...{ model: "m", loaded: this.loaded, kv: this.kv, files: this.files, now: () => 0 },
      warn: (_, { message }) => assert.match(message, /given up meanwhile|do not fit|KV blocks are missing/),
    });
  }

  async apply([what, which, much]: Operation): Promise<void> {
    const one = this.known[which % Math.max(1, this.known.length)];
    if (what === "open" && this.known.length < LIVE) this.open(which, much);
    if (what === "makeRoom") this.parking.makeRoom();
    if (what === "evict") this.kv.clear();
    if (what === "crash" && much < 2) this.crash();
    if (one === undefined) return;
    if (what === "compute" && one.running) this.compute(one, one.running, much);
    if (what === "park" && one.running) {
      this.parking.park(one.running);
      [one.aside, one.running] = [one.running, undefined];
    }
    if (what === "resume" && !one.running) await this.resume(one);
    if (what === "moveOut") await this.parking.moveOut([one.seq]);
    if (what === "cancel") this.cancel(one);
  }

  private begin({ ids, generated = 0 }: Pick<Start, "ids"> & { generated?: number }): Start {
    const sample = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
    return {
      ids,
      generated,
      mode: "generate",
      sample,
      stopIds: [],
      maxNew: 1e6,
      from: 1,
      to: "",
      principal: "app",
      parked: true,
    };
  }

  private open(seed: number, length: number): void {
    const ids = Array.from({ length: 10 + length }, (_, i) => idAt(seed, i));
    const seq = `s${this.opened++}`;
    const running = openSequence(seq, this.begin({ ids }), this.kv.open());
    this.totals.shared += share(this.kv, running);
    this.known.push({ seq, ids, running, aside: undefined });
  }

  /** What a quantum does: room, KV of each place, whole blocks offered to others, the rest of the room back, a new id. */
  private compute(one: Known, running: Sequence, tokens: number): void {
    this.totals.shared += share(this.kv, running);
    const { table } = running;
    const end = Math.min(running.pos + tokens, one.ids.length);
    if (this.parking.grow(table, end)) {
      for (; running.pos < end; running.pos++) {
        assert.ok(running.pos >= table.node.depth * BLOCK_TOKENS, "nothing shared is written");
        this.places[this.place(running, running.pos)] = one.ids[running.pos]!;
      }
      if (end === one.ids.length) {
        one.ids.push(idAt(tokens, end));
        running.ids.push(one.ids.at(-1)!);
      }
      this.kv.commit(table, running.ids, running.pos);
    }
    this.kv.shrink(table, running.pos);
  }

  private async resume(one: Known): Promise<void> {
    await this.parking.written([one.seq]);
    const start = this.begin({ ids: [...one.ids] });
    const before = { ...this.parking.counts };
    one.running = this.parking.resume(one.seq, start);
    if (one.running === undefined) this.totals.anew += 1;
    this.totals.inPlace += this.parking.counts.inPlace - before.inPlace;
    this.totals.restored += this.parking.counts.restored - before.restored;
    one.running ??= openSequence(one.seq, start, this.kv.open());
    one.aside = undefined;
    assert.equal(one.running.ids, one.ids);
  }

  private cancel(one: Known): void {
    if (one.running) this.kv.close(one.running.table);
    this.parking.forget([one.seq]);
    this.known.splice(this.known.indexOf(one), 1);
  }

  /** kill -9 of the device: what is in memory is gone, files and ids are not. */
  private crash(): void {
    this.totals.lost += 1;
    this.start();
    for (const one of this.known) one.running = one.aside = undefined;
  }

  private place({ table }: Sequence, at: number): number {
    return table.blocks[Math.floor(at / BLOCK_TOKENS)]! * BLOCK_TOKENS + (at % BLOCK_TOKENS);
  }

  check(): void {
    const held = new Set<number>();
    let aside = 0;
    for (const one of this.known) {
      const sequence = one.running ?? one.aside;
      // Its table is empty once it was written.
      if (sequence === undefined || (one.aside && sequence.table.blocks.length === 0 && sequence.pos > 0)) continue;
      if (one.aside && sequence.table.blocks.length > 0) aside += 1;
      for (const block of sequence.table.blocks) held.add(block);
      for (let at = 0; at < sequence.pos; at++)
        if (this.places[this.place(sequence, at)] !== one.ids[at])
          assert.unreachable(
            `${one.seq} has the KV of ${this.places[this.place(sequence, at)]} at ${at}, not of ${one.ids[at]}`,
          );
    }
    assert.ok(this.parking.size >= aside, "who is put aside is known");
    assert.is(this.kv.free, TOTAL - held.size, "every block that no sequence has can be had");
  }

  /** Everything is canceled: no block and no file is left. */
  async end(): Promise<void> {
    for (const one of [...this.known]) this.cancel(one);
    await this.files.idle();
    assert.is(this.kv.free, TOTAL);
    this.kv.clear();
    assert.is(this.kv.free, TOTAL);
    assert.is(this.kv.cached, 0);
    assert.is(this.parking.size, 0);
    assert.equal(
      readdirSync(this.files.folder, { recursive: true }).filter((name) => name !== "blocks"),
      [],
    );
  }
}

async function run(operations: readonly Operation[], bound: number): Promise<World> {
  const world = new World(new Files(mkdtempSync(join(root, "f-")), bound));
  for (const operation of operations) {
    await world.apply(operation);
    world.check();
    assert.ok(world.files.figures.bytes <= bound, "files keep to their bound");
  }
  await world.end();
  return world;
}

test("whatever the order of operations, KV is that of its ids, and all of it comes back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { maxLength: 120 }),
      fc.constantFrom(2_000, 2 ** 20),
      async (operations, bound) => {
        await run(operations, bound);
      },
    ),
    { numRuns: 25 },
  );
});

test("after 10,000 random operations in a row 0 blocks and 0 files are leaked", async () => {
  const [operations] = fc.sample(fc.array(operation, { minLength: 10_000, maxLength: 10_000, size: "max" }), {
    numRuns: 1,
    seed: 11,
  });
  const { totals, files } = await run(operations!, 4_000);
  console.log({ ...totals, refused: files.figures.refused });
  for (const [what, count] of Object.entries(totals)) assert.ok(count > 20, `${what} happened ${count} times`);
  assert.ok(files.figures.refused > 0, "files were full at times");
});

test.run();
