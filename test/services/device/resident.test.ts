// Owns the tests of a resident model on a driver that the test holds in its hand: quanta end when the test says so.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SomaError } from "../../../kernel/abi/errors.ts";
import type { LoadedModel, Quantum, QuantumReport } from "../../../services/device/drivers/driver.ts";
import { Files } from "../../../services/device/files.ts";
import type { RunInput } from "../../../services/device/model.ts";
import { Outbox } from "../../../services/device/outbox.ts";
import { Resident } from "../../../services/device/resident.ts";

const folder = mkdtempSync(join(tmpdir(), "soma-resident-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function startResident(blocks = 32, lostMs = 0) {
  const given: Quantum[] = [];
  const ends: (() => void)[] = [];
  const canceled: (string | undefined)[] = [];
  const aside = { files: new Files(folder, 2 ** 30), warn: () => assert.unreachable("files failed") };
  const loaded = {
    numerics: "n",
    bytes: { weights: 1, kv: 1, total: 2, block: 4 },
    blockTokens: 16,
    blocks,
    vocab: 100,
    context: 256,
    width: 1,
    run: (quantum: Quantum) =>
      new Promise<QuantumReport>((resolve) => {
        given.push(quantum);
        // Computes all that it is given and samples one token for each sequence that wants one.
        ends.push(() => {
          const seqs = quantum.seqs.map(({ seq, pos, ids, sample, maxNew }) => ({
            seq,
            pos: pos + ids.length,
            newIds: sample ? [9] : [],
            finish: sample && maxNew === 1 ? ("length" as const) : null,
          }));
          const computedTokens = quantum.seqs.reduce((sum, { ids }) => sum + ids.length, 0);
          resolve({ id: quantum.id, seqs, computedTokens, steps: 1, ms: 1 + lostMs, lostMs, cancelled: false });
        });
      }),
    cancel: (_: string, seq?: string) => canceled.push(seq),
    readBlocks: (some: readonly number[]) => new Uint8Array(4 * some.length),
    writeBlocks: () => {},
    abandon: (quantum: string) => canceled.push(`all of ${quantum}`),
  } as unknown as LoadedModel;
  return { resident: new Resident("m", "fake", loaded, aside), given, ends, canceled };
}

const outbox = () => new Outbox(() => {});
const sample = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
const start = (length: number, more = {}) => ({
  ids: Array.from({ length }, (_, i) => i % 100),
  generated: 0,
  mode: "generate" as const,
  sample,
  stopIds: [],
  maxNew: 5,
  from: 1,
  to: "_INBOX.model-1.x.y",
  principal: "app",
  ...more,
});
const quantum = (id: string, seqs: RunInput["seqs"], more = {}): RunInput => ({
  quantum: id,
  model: "m",
  maxSteps: 4,
  maxMs: 50,
  tokenBudget: 64,
  seqs,
  ...more,
});

test("a sequence dropped while its first quantum is still to come does not come back with it", async () => {
  const { resident, given, ends } = startResident();
  const first = quantum("q1", [{ seq: "a", start: start(20) }]);
  const second = quantum("q2", [{ seq: "b", start: start(20) }, { seq: "a" }]);
  resident.arrived(first);
  const running = resident.run(first, outbox());
  resident.arrived(second);
  resident.drop(["b"], false);
  ends.shift()!();
  await running;
  const next = resident.run(second, outbox());
  assert.equal(
    given[1]!.seqs.map(({ seq }) => seq),
    ["a"],
  );
  ends.shift()!();
  assert.equal(
    (await next).seqs.map(({ seq, finish }) => [seq, finish]),
    [
      ["b", "unknown"],
      ["a", null],
    ],
  );
  resident.drop([], true);
  assert.is(resident.kv.free, 32);
});

test("a cleared device ends what it has at once, quanta that came before without a step, and goes on with those after", async () => {
  const { resident, given, ends, canceled } = startResident();
  const [first, second, third] = [
    quantum("q1", [{ seq: "a", start: start(20) }]),
    quantum("q2", [{ seq: "b", start: start(20) }, { seq: "a" }]),
    quantum("q3", [{ seq: "b" }]),
  ];
  resident.arrived(first);
  const running = resident.run(first, outbox());
  resident.arrived(second);
  resident.clear();
  resident.arrived(third);
  assert.equal(canceled, ["all of q1"]);
  ends.shift()!();
  await running;
  const { steps, seqs } = await resident.run(second, outbox());
  const nothing = [null, 0];
  assert.equal([steps, seqs.map(({ finish, computed }) => [finish, computed])], [0, [nothing, nothing]]);
  const next = resident.run(third, outbox());
  assert.equal([given.length, given[1]!.seqs[0]!.seq], [2, "b"]);
  ends.shift()!();
  assert.is((await next).seqs[0]!.computed, 4, "the rest is shared");
});

test("steps are given up only until an eighth of the time is lost: then what runs ends at its next step", async () => {
  const { resident, ends, canceled } = startResident(32, 200);
  for (const id of ["q1", "q2", "q3"]) {
    const input = quantum(id, [{ seq: id, start: start(20) }]);
    resident.arrived(input);
    const running = resident.run(input, outbox());
    resident.clear();
    ends.shift()!();
    await running;
  }
  assert.equal(canceled, ["all of q1", "all of q2", undefined]);
});

test("a sequence dropped while it runs leaves at the next step, where its quantum ends and gives its blocks back", async () => {
  const { resident, ends, canceled } = startResident();
  const running = resident.run(quantum("q1", [{ seq: "a", start: start(40) }]), outbox());
  resident.drop(["a"], false);
  assert.equal(canceled, ["a", undefined]);
  assert.ok(resident.kv.free < 32);
  ends.shift()!();
  await running;
  assert.is(resident.kv.free, 32);
  assert.is(resident.row().sequences, 0);
});

test("of several with the same prefix one computes it, and the others share its blocks", async () => {
  const { resident, given, ends } = startResident();
  const seqs = ["a", "b", "c"].map((seq) => ({ seq, start: start(70) }));
  const running = resident.run(quantum("q1", seqs, { maxSteps: 100 }), outbox());
  assert.equal(
    given[0]!.seqs.map(({ seq }) => seq),
    ["a"],
  );
  assert.is(given[0]!.maxSteps, 2, "the quantum ends when the prefix is there: 70 rows in steps of 64");
  ends.shift()!();
  await running;
  const next = resident.run(
    quantum(
      "q2",
      seqs.map(({ seq }) => ({ seq })),
    ),
    outbox(),
  );
  const [, b, c] = given[1]!.seqs;
  assert.equal([b!.pos, c!.pos], [64, 64]);
  assert.equal(b!.blocks.slice(0, 4), c!.blocks.slice(0, 4));
  ends.shift()!();
  assert.equal(
    (await next).seqs.map(({ cached }) => cached),
    [0, 64, 64],
  );
});

test("a snapshot that finds no room is told when there will be some, from what runs and its pace", async () => {
  const { resident, ends } = startResident(7, 99);
  const run = async (seq: string, ids: number[]) => {
    const running = resident.run(quantum(seq, [{ seq, start: { ...start(1), ids } }]), outbox());
    ends.shift()!();
    await running;
  };
  await run(
    "a",
    Array.from({ length: 33 }, (_, i) => i),
  );
  const { file } = await resident.snapshot("a");
  await run(
    "b",
    Array.from({ length: 60 }, (_, i) => 99 - i),
  );
  const refused = await resident.restore("c", file).catch((error: SomaError) => error);
  assert.is((refused as SomaError).code, "EAGAIN");
  // 33 tokens took 100 ms and then 60: 0.33 and 0.6 a ms, smoothed 0.411. Both have their last one to compute, and 4 to make.
  assert.is((refused as SomaError).retryAfterMs, Math.ceil(10 / 0.411));
  await resident.drop(["b"], false);
  assert.equal(await resident.restore("c", file), { position: 33 });
});

test("what was generated elsewhere goes on: positions and the rest of its tokens count from there", async () => {
  const { resident, given, ends } = startResident();
  const running = resident.run(quantum("q1", [{ seq: "a", start: start(30, { generated: 4 }) }]), outbox());
  assert.is(given[0]!.seqs[0]!.maxNew, 1);
  ends.shift()!();
  assert.is((await running).seqs[0]!.finish, "length");
});

test("a sequence that cannot be run is told why, and the others run", async () => {
  const { resident, given, ends } = startResident();
  const running = resident.run(
    quantum("q1", [
      { seq: "long", start: start(300) },
      { seq: "strange", start: start(3, { ids: [1, 100] }) },
      { seq: "good", start: start(3) },
      { seq: "unknown" },
    ]),
    outbox(),
  );
  assert.equal(
    given[0]!.seqs.map(({ seq }) => seq),
    ["good"],
  );
  ends.shift()!();
  const { seqs } = await running;
  assert.equal(
    seqs.map(({ finish }) => finish),
    ["error", "error", null, "unknown"],
  );
  assert.match(seqs[0]!.message!, /context of 256/);
  assert.match(seqs[1]!.message!, /vocabulary of 100/);
});

test.run();
