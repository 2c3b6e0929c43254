// Owns the proof that preemption is exact: whatever is put aside, written, lost with its process or moved to another device,
// each sequence's tokens are those of an undisturbed run. `PREEMPTIONS=1000 node --import tsx test/services/device/preempt.test.ts`
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoadedModel } from "../../../services/device/drivers/driver.ts";
import { Files } from "../../../services/device/files.ts";
import { Outbox } from "../../../services/device/outbox.ts";
import { Resident } from "../../../services/device/resident.ts";
import { file, llama, randomWeights, safetensors } from "./drivers/wasm/files.ts";
import { load, prompt } from "./drivers/wasm/run.ts";

const PREEMPTIONS = Number(process.env.PREEMPTIONS ?? 300);
const BLOCKS = 24;
const BOUND = 2 ** 30;
const MAX_NEW = 40;
const PROMPTS = [prompt(37, 1), [...prompt(37, 1).slice(0, 32), 5, 6, 7], prompt(16, 3), prompt(50, 4)];
const folder = mkdtempSync(join(tmpdir(), "soma-preempt-"));
let models: LoadedModel[];
test.before(async () => {
  const weights = file(safetensors(randomWeights(llama())));
  // Another thread count is another division of the work.
  models = await Promise.all([1, 2].map((threads) => load(llama(), {}, { weights, threads, kvBlocks: BLOCKS })));
});
test.after(async () => {
  for (const model of models) await model.unload();
  rmSync(folder, { recursive: true, force: true });
});

const settings = (i: number) => ({
  temperature: i % 2 === 0 ? 0 : 0.9,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: i % 4 === 3 ? 1.2 : 1,
  seed: i,
});

/** A device, and what the scheduler knows of its sequences. */
class Host {
  residents: Resident[];
  made: number[][] = PROMPTS.map(() => []);
  /** Ids as they were sent to whoever asked. */
  sent: Map<number, number>[] = PROMPTS.map(() => new Map());
  on: (number | undefined)[] = PROMPTS.map(() => undefined);
  preemptions = 0;
  warned = 0;
  restored = 0;
  inPlace = 0;
  private quanta = 0;

  constructor(readonly files: Files) {
    this.residents = models.map((_, i) => this.open(i));
  }

  private open(i: number): Resident {
    // A clock that stands still measures nothing: files are always tried.
    return new Resident("m", "wasm", models[i]!, {
      files: this.files,
      // A block that was there when its sequence was copied, and went with another's snapshot: it is computed again.
      warn: (_, { message }) => {
        if (!/given up meanwhile|do not fit/.test(message)) this.warned += 1;
      },
      now: () => 0,
    });
  }

  over(i: number): boolean {
    return this.made[i]!.length >= MAX_NEW;
  }

  async run(device: number, seqs: number[], maxSteps: number): Promise<void> {
    const named = seqs.filter((i) => !this.over(i) && (this.on[i] ?? device) === device);
    if (named.length === 0) return;
    // What stands aside elsewhere goes to files before it goes on here.
    for (const i of named)
      if (this.on[i] === undefined) await this.residents[1 - device]!.drop([`s${i}`], false, "move");
    const outbox = new Outbox((to, { pos, ids }) => {
      for (const [at, id] of ids.entries()) this.sent[Number(to)]!.set(pos + at, id);
    });
    const report = await this.residents[device]!.run(
      {
        quantum: `q${this.quanta++}`,
        model: "m",
        maxSteps,
        maxMs: 10_000,
        tokenBudget: 24,
        seqs: named.map((i) => ({ seq: `s${i}`, ...(this.on[i] === device ? {} : { start: this.start(i) }) })),
      },
      outbox,
    );
    for (const part of report.seqs) {
      const i = Number(part.seq.slice(1));
      this.on[i] = device;
      this.made[i]!.push(...part.newIds);
      assert.ok(part.finish === null || part.finish === "length" || part.finish === "blocks", `${part.message}`);
    }
  }

  private start(i: number) {
    return {
      ids: [...PROMPTS[i]!, ...this.made[i]!],
      generated: this.made[i]!.length,
      mode: "generate" as const,
      sample: settings(i),
      stopIds: [],
      maxNew: MAX_NEW,
      from: 1,
      to: String(i),
      principal: "app",
      parked: true,
    };
  }

  park(i: number): void {
    const device = this.on[i];
    if (device === undefined || this.over(i)) return;
    this.residents[device]!.drop([`s${i}`], false, "park");
    this.on[i] = undefined;
    this.preemptions += 1;
  }

  /** Others need the room: everything put aside goes to files. */
  moveOut(device: number): void {
    for (const [i, on] of this.on.entries()) if (on === device) this.park(i);
    while (this.residents[device]!.parking.makeRoom());
  }

  /** kill -9: KV and whatever was put aside in memory are gone, files are not. */
  crash(device: number): void {
    this.tally(device);
    this.residents[device] = this.open(device);
    for (const [i, on] of this.on.entries()) {
      if (on !== device) continue;
      this.on[i] = undefined;
      if (!this.over(i)) this.preemptions += 1;
    }
  }

  private tally(device: number): void {
    const { restored, inPlace } = this.residents[device]!.parking.counts;
    this.restored += restored;
    this.inPlace += inPlace;
  }

  async finish(): Promise<void> {
    for (let round = 0; PROMPTS.some((_, i) => !this.over(i)); round++) {
      assert.ok(round < 500, "it ends");
      for (const i of PROMPTS.keys()) await this.run(this.on[i] ?? 0, [i], 50);
    }
    for (const device of models.keys()) {
      this.tally(device);
      const { kv } = this.residents[device]!;
      this.residents[device]!.drop([], true);
      kv.clear();
      assert.is(kv.free, BLOCKS, "no block is left behind");
    }
  }
}

let expected: number[][];
async function undisturbed(): Promise<number[][]> {
  if (expected) return expected;
  const host = new Host(new Files(join(folder, "undisturbed"), BOUND));
  await host.finish();
  expected = host.made;
  assert.is(new Set(expected.map(String)).size, PROMPTS.length);
  return expected;
}

const device = fc.nat(1);
const seq = fc.nat(PROMPTS.length - 1);
interface Operation {
  op: string;
  device: number;
  seq: number;
  more: number;
  steps: number;
}
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("run"),
      device,
      seq,
      more: fc.nat(14),
      steps: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("park"), device, seq, more: fc.nat(), steps: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("moveOut"), device, seq, more: fc.nat(), steps: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("crash"), device, seq, more: fc.nat(), steps: fc.nat() }) },
);

/** Does all of it, and checks tokens, blocks and files. */
async function disturb(operations: readonly Operation[], bound: number): Promise<Host> {
  const expected = await undisturbed();
  const files = new Files(mkdtempSync(join(folder, "shared-")), bound);
  const host = new Host(files);
  for (const { op, device, seq, more, steps } of operations) {
    if (op === "run")
      await host.run(
        device,
        [seq, ...PROMPTS.keys()].filter((i, at) => at === 0 || (i !== seq && (more >> i) & 1)),
        steps,
      );
    if (op === "park") host.park(seq);
    if (op === "moveOut") host.moveOut(device);
    if (op === "crash") host.crash(device);
    assert.ok(bytesIn(files.folder) <= bound, "files keep to their bound");
  }
  await host.finish();
  assert.equal(host.made, expected);
  for (const [i, sent] of host.sent.entries())
    assert.equal(
      Array.from({ length: MAX_NEW }, (_, at) => sent.get(at)),
      expected[i],
      "what was sent, too",
    );
  assert.is(host.warned, 0);
  await files.idle();
  assert.equal(
    readdirSync(files.folder).filter((name) => name !== "blocks"),
    [],
    "no snapshot is left",
  );
  if (existsSync(join(files.folder, "blocks")))
    assert.equal(readdirSync(join(files.folder, "blocks")), [], "no block file is left");
  return host;
}

/** Of all files below, those that are linked more than once counted once. Files may go while it looks. */
function bytesIn(root: string): number {
  const sizes = new Map<number, number>();
  for (const name of readdirSync(root, { recursive: true, encoding: "utf8" })) {
    const found = statSync(join(root, name), { throwIfNoEntry: false });
    if (found?.isFile()) sizes.set(found.ino, found.size);
  }
  return [...sizes.values()].reduce((a, b) => a + b, 0);
}

test("where files have room for few, others are computed again, and no token changes", async () => {
  const [operations] = fc.sample(fc.array(operation, { minLength: 120, maxLength: 120 }), { numRuns: 1, seed: 6 });
  const host = await disturb(operations!, 24_000);
  assert.ok(host.files.figures.refused > 0, "some did not fit");
  assert.ok(host.restored > 0, "others did");
});

test(`${PREEMPTIONS} random preemptions, moves and crashes change no token`, async () => {
  let preemptions = 0;
  const totals = { restored: 0, inPlace: 0 };
  for (let round = 0; preemptions < PREEMPTIONS; round++) {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 60, maxLength: 120 }), async (operations) => {
        const host = await disturb(operations, BOUND);
        preemptions += host.preemptions;
        totals.restored += host.restored;
        totals.inPlace += host.inPlace;
      }),
      {
        numRuns: 1,
        endOnFailure: true,
        includeErrorInReport: true,
        ...(process.env.PREEMPTIONS ? {} : { seed: 100 + round }),
      },
    );
  }
  if (process.env.PREEMPTIONS) console.log({ preemptions, ...totals });
  assert.ok(totals.restored > PREEMPTIONS / 20, `${totals.restored} came from files`);
  assert.ok(totals.inPlace > PREEMPTIONS / 20, `${totals.inPlace} went on in place`);
});

test.run();
