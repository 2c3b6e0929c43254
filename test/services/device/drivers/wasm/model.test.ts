import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasm } from "../../../../../services/device/drivers/wasm/driver.ts";
import { llama, randomWeights } from "./files.ts";
import { greedy, load, prompt, quantum, refusal, run, sequence } from "./run.ts";

const config = llama();
const weights = randomWeights(config);

test("the driver works on this host and says with what", () => {
  assert.ok(wasm.probe().ok);
  assert.match(wasm.probe().why, "WebAssembly");
});

test("sequences leave with the reason for which they end", async () => {
  const model = await load(config, weights);
  try {
    const ids = prompt(10, 1);
    const free = (await run(model, quantum([{ ids, maxNew: 30 }]))).report.seqs[0]!;
    assert.is(free.finish, "length");
    assert.is(free.newIds.length, 30);
    assert.is(free.pos, 39);
    const stopId = free.newIds.find((id, i) => i > 2 && free.newIds.indexOf(id) === i) ?? free.newIds[0]!;
    const until = free.newIds.indexOf(stopId) + 1;
    const { report, tokens } = await run(
      model,
      quantum(
        [
          { seq: "stop", ids, blocks: [0, 1, 2], maxNew: 30, stopIds: [stopId] },
          { seq: "blocks", ids, blocks: [3], maxNew: 30 },
          { seq: "prefill", ids, blocks: [4], sample: null },
          { seq: "no room", ids: prompt(20, 1), blocks: [5], maxNew: 30 },
          { seq: "nothing new", ids, blocks: [6], maxNew: 0 },
          { seq: "cut", ids, blocks: [7, 8], maxNew: 30 },
        ],
        { maxSteps: 7 + until, tokenBudget: 128 },
      ),
    );
    const of = (seq: string) => report.seqs.find((one) => one.seq === seq)!;
    assert.equal([of("stop").finish, of("stop").newIds], ["stop", free.newIds.slice(0, until)]);
    // 10 given, 6 more fit into the block, and the token after them was sampled.
    assert.equal([of("blocks").finish, of("blocks").newIds, of("blocks").pos], ["blocks", free.newIds.slice(0, 7), 16]);
    assert.equal([of("prefill").finish, of("prefill").newIds, of("prefill").pos], [null, [], 10]);
    assert.equal([of("no room").finish, of("no room").newIds, of("no room").pos], ["blocks", [], 16]);
    assert.equal([of("nothing new").finish, of("nothing new").newIds], ["length", []]);
    assert.equal([of("cut").finish, of("cut").newIds.length], [null, 7 + until]);
    assert.equal(
      tokens.filter(({ seq }) => seq === "cut").map(({ pos, id }) => [pos, id]),
      of("cut").newIds.map((id, i) => [10 + i, id]),
    );
    assert.is(
      report.computedTokens,
      report.seqs.reduce((sum, { pos }) => sum + pos, 0),
    );
  } finally {
    await model.unload();
  }
});

test("a sequence ends at the model's context", async () => {
  const model = await load(llama({ max_position_embeddings: 24 }), weights);
  try {
    assert.is(model.context, 24);
    const { report } = await run(model, quantum([{ ids: prompt(20, 1), blocks: [0, 1], maxNew: 30 }]));
    assert.equal([report.seqs[0]!.finish, report.seqs[0]!.pos, report.seqs[0]!.newIds.length], ["length", 24, 5]);
  } finally {
    await model.unload();
  }
});

test("only allowed ids are sampled, and the mask of one sequence leaves the others alone", async () => {
  const model = await load(config, weights);
  try {
    const free = { ids: prompt(9, 2), blocks: [0], maxNew: 4 };
    const masked = { ...free, seq: "masked", blocks: [1], sample: { ...greedy, allowed: [11, 12] } };
    const { report } = await run(model, quantum([free, masked]));
    assert.equal(report.seqs[0], (await run(model, quantum([free]))).report.seqs[0]);
    for (const id of report.seqs[1]!.newIds) assert.ok([11, 12].includes(id));
  } finally {
    await model.unload();
  }
});

test("bad quanta are refused with what is wrong, and the model stays usable", async () => {
  const model = await load(config, weights);
  try {
    const good = quantum([{ ids: prompt(5, 1) }]);
    const before = await run(model, good);
    const bad: [string, ReturnType<typeof quantum>][] = [
      ["block 24 ", quantum([{ blocks: [0, 24] }])],
      ["block -1 ", quantum([{ blocks: [-1] }])],
      ["block 0.5 ", quantum([{ blocks: [0.5] }])],
      ["id 83 ", quantum([{ ids: [1, 83] }])],
      ["id -1 ", quantum([{ ids: [-1] }])],
      ["no ids", quantum([{ ids: [] }])],
      ["pos 65 ", quantum([{ pos: 65 }])],
      ["more blocks", quantum([{ blocks: [0, 1, 2, 3, 4, 5, 6, 7, 8] }])],
      ["allowed id 99", quantum([{ sample: { ...greedy, allowed: [99] } }])],
      ["allowed names no id", quantum([{ sample: { ...greedy, allowed: [] } }])],
      ["history id 83", quantum([{ sample: { ...greedy, history: [83] } }])],
      ["temperature NaN", quantum([{ sample: { ...greedy, temperature: Number.NaN } }])],
      ["topP 0 ", quantum([{ sample: { ...greedy, topP: 0 } }])],
      ["minP 2 ", quantum([{ sample: { ...greedy, minP: 2 } }])],
      ["topK -1 ", quantum([{ sample: { ...greedy, topK: -1 } }])],
      ["repetitionPenalty 0 ", quantum([{ sample: { ...greedy, repetitionPenalty: 0 } }])],
      ["twice", quantum([{}, {}])],
      [
        "would write block 1",
        quantum([
          { seq: "a", blocks: [0, 1] },
          { seq: "b", blocks: [1, 2] },
        ]),
      ],
      ["would write block 1", quantum([{ blocks: [0, 1, 1] }])],
      ["0 sequences", quantum([])],
      ["maxSteps", quantum([{}], { maxSteps: 0 })],
      ["tokenBudget", quantum([{}], { tokenBudget: 0.5 })],
      ["maxMs", quantum([{}], { maxMs: -1 })],
    ];
    for (const [what, given] of bad) assert.match(await refusal("EINVAL", () => run(model, given)), what);
    await refusal("EINVAL", () => model.readBlocks([24]));
    await refusal("EINVAL", () => model.copyBlock(0, 1.5));
    await refusal("EINVAL", () => model.writeBlocks([0], new Uint8Array(3)));
    assert.equal((await run(model, { ...good, id: "again" })).report.seqs, before.report.seqs);
  } finally {
    await model.unload();
  }
});

test("a running quantum ends at the next step when it is cancelled, or only one of its sequences", async () => {
  const model = await load(config, weights, { threads: 2 });
  try {
    const long = { ids: prompt(4, 1), maxNew: 60 };
    const given = quantum([
      { ...long, seq: "a" },
      { ...long, seq: "b", blocks: [4, 5, 6, 7] },
    ]);
    const one = await model.run(given, (tokens) => {
      if (tokens.some(({ pos }) => pos === 10)) model.cancel(given.id, "a");
    });
    assert.is(one.seqs[1]!.newIds.length, 60);
    assert.equal([one.seqs[0]!.finish, one.cancelled], [null, false]);
    const first = quantum([long]);
    const second = { ...first, id: "second" };
    const runs = [model.run(first, () => {}), model.run(second, () => {})];
    model.cancel("second");
    model.cancel("never heard of");
    const [whole, cut] = await Promise.all(runs);
    assert.equal([whole!.cancelled, whole!.seqs[0]!.newIds.length], [false, 60]);
    assert.equal([cut!.cancelled, cut!.steps, cut!.seqs[0]!.pos], [true, 0, 0]);
  } finally {
    await model.unload();
  }
});

test("quanta handed over early run in their order, and time ends a quantum", async () => {
  const model = await load(config, weights, { threads: 2 });
  try {
    const ended: string[] = [];
    const quanta = ["1", "2", "3"].map((id) => quantum([{ ids: prompt(6, 1), maxNew: 20 }], { id }));
    await Promise.all(quanta.map((given) => run(model, given).then(({ report }) => ended.push(report.id))));
    assert.equal(ended, ["1", "2", "3"]);
    const { report } = await run(model, quantum([{ ids: prompt(6, 1), maxNew: 20 }], { maxMs: 0 }));
    assert.equal([report.steps, report.seqs[0]!.newIds.length], [1, 1]);
  } finally {
    await model.unload();
  }
});

test("unloading ends the running quantum, gives the threads back, and later calls say so", async () => {
  const threads = () => readdirSync("/proc/self/task").length;
  const linux = process.platform === "linux";
  await (await load(config, weights)).unload();
  const before = linux ? threads() : 0;
  const model = await load(config, weights, { threads: 2 });
  if (linux) assert.ok(threads() > before);
  const running = model.run(quantum([{ ids: prompt(4, 1), maxNew: 60 }]), () => {});
  await model.unload();
  assert.ok((await running).steps <= 60);
  assert.match(await refusal("ENOENT", () => model.run(quantum([{}]), () => {})), "load it again");
  await refusal("ENOENT", () => model.readBlocks([0]));
  await refusal("ENOENT", () => model.copyBlock(0, 1));
  for (let i = 0; linux && threads() > before && i < 100; i++) await sleep(20);
  if (linux) assert.ok(threads() <= before, `${threads()} threads, before ${before}`);
});

test("a tensor thread that dies fails the quantum with EIO instead of hanging it", async () => {
  const model = await load(config, weights, { threads: 2 });
  try {
    // Past all checks: a block table entry that points outside the memory makes the kernels trap.
    const bad = sequence({ ids: prompt(4, 1), blocks: [0] });
    const tampered = Object.assign(quantum([{}]), { seqs: [bad] });
    Object.defineProperty(model, "blocks", { value: 2 ** 31 });
    bad.blocks = [500_000];
    assert.match(await refusal("EIO", () => model.run(tampered, () => {})), "load the model again");
    await refusal("EIO", () => model.run(quantum([{}]), () => {}));
  } finally {
    await model.unload();
  }
});

test("unloading gives the memory back soon", async () => {
  const mb = () => process.memoryUsage().rss / 2 ** 20;
  await (await load(config, weights)).unload();
  const before = mb();
  const model = await load(config, weights, { kvBlocks: 64_000 });
  const some = Array.from({ length: 1000 }, (_, i) => i);
  const content = new Uint8Array(some.length * model.bytes.block).fill(1);
  for (let i = 0; i < 64; i++)
    model.writeBlocks(
      some.map((block) => block + 1000 * i),
      content,
    );
  const loaded = mb();
  await model.unload();
  // V8 unmaps on a thread of its own; nothing allocates meanwhile, so nothing else could start a collection.
  for (let i = 0; mb() - before > 100 && i < 200; i++) await sleep(20);
  const after = mb();
  assert.ok(loaded - before > 200, `${before} to ${loaded} MB: the test fills 250 MB of KV`);
  assert.ok(after - before < 100, `${before} to ${after} MB`);
});

test("when one tensor thread fails, the quantum and the one behind it end with EIO", async () => {
  const model = await load(config, weights, { threads: 2 });
  try {
    const follower = (model as unknown as { pools: { run(task: unknown): Promise<void> }[] }).pools[1]!;
    const follow = follower.run.bind(follower);
    follower.run = () => {
      follower.run = follow;
      return Promise.reject(new Error("trapped"));
    };
    const runs = [1, 2].map(() => model.run(quantum([{ ids: prompt(4, 1) }]), () => {}));
    for (const run of runs) await refusal("EIO", () => run);
  } finally {
    await model.unload();
  }
});

test.run();
