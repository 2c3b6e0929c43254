// The promise of the wasm driver: the same bits however the work is cut, mixed, split between threads or moved.
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoadedModel } from "../../../../../services/device/drivers/driver.ts";
import { file, llama, randomWeights, safetensors } from "./files.ts";
import { distributions, everything, load, prompt, quantum, run } from "./run.ts";

// Three heads on a KV head, as SmolLM has; sizes that fill no panel.
const config = llama({ num_attention_heads: 9, num_key_value_heads: 3, intermediate_size: 50 });
const weights = file(safetensors(randomWeights(config)));
const models: Record<string, LoadedModel> = {};

test.before(async () => {
  const open = (threads: number, dtype: "f32" | "int8" | "int4", strict = false) =>
    load(config, {}, { weights, threads, dtype, kvBlocks: 64, strict });
  const all: Record<string, Promise<LoadedModel>> = {};
  for (const dtype of ["f32", "int8", "int4"] as const) {
    all[dtype] = open(1, dtype);
    all[`${dtype}two`] = open(2, dtype);
  }
  for (const [name, model] of Object.entries({ ...all, strict: open(2, "f32", true) })) models[name] = await model;
});
test.after(async () => {
  for (const model of Object.values(models)) await model.unload();
});

/** Everything that a sequence of 40 + 8 ids leaves behind: distributions, tokens and KV blocks. */
async function trace(model: LoadedModel, tokenBudget: number) {
  const blocks = [7, 1, 30];
  const given = { ids: prompt(40, 1), blocks, sample: everything(model), maxNew: 8, logprobsOf: true };
  const { report, tokens } = await run(model, quantum([given], { tokenBudget }));
  return {
    report: report.seqs,
    distributions: distributions(tokens),
    kv: Buffer.from(model.readBlocks(blocks)).toString("hex"),
  };
}

for (const name of ["f32", "int8", "int4", "strict"])
  test(`${name}: chunks of 1 to 64 tokens give equal bits`, async () => {
    const expected = await trace(models[name]!, 64);
    assert.is(expected.report[0]!.newIds.length, 8);
    for (const budget of [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 33])
      assert.equal(await trace(models[name]!, budget), expected);
  });

test("one thread and two give equal bits", async () => {
  for (const dtype of ["f32", "int8", "int4"])
    assert.equal(await trace(models[`${dtype}two`]!, 9), await trace(models[dtype]!, 9));
});

test("decoding with KV equals computing everything again", async () => {
  for (const model of Object.values(models)) {
    const given = { ids: prompt(20, 4), blocks: [0, 1, 2], sample: everything(model), maxNew: 12 };
    const { report, tokens } = await run(model, quantum([given]));
    for (let n = 1; n <= 12; n++) {
      const ids = [...given.ids, ...report.seqs[0]!.newIds.slice(0, n - 1)];
      const again = await run(model, quantum([{ ...given, ids, blocks: [5, 4, 3], maxNew: 1 }]));
      assert.equal(distributions(again.tokens)[0], distributions(tokens)[n - 1]);
    }
  }
});

test("a sequence among others equals the sequence alone, in any mixture", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          length: fc.integer({ min: 1, max: 30 }),
          seed: fc.nat(50),
          maxNew: fc.integer({ min: 0, max: 9 }),
        }),
        {
          minLength: 1,
          maxLength: 12,
        },
      ),
      fc.integer({ min: 1, max: 70 }),
      fc.constantFrom("f32", "int8", "int4", "f32two", "int8two", "int4two"),
      async (list, tokenBudget, name) => {
        const model = models[name]!;
        const alone = models[name.replace("two", "")]!;
        const sample = { temperature: 0.8, topK: 20, topP: 0.95, minP: 0.01, repetitionPenalty: 1.1, logprobs: 5 };
        const seqs = list.map(({ length, seed, maxNew }, i) => {
          const ids = prompt(length, seed);
          return {
            seq: `${i}`,
            ids,
            blocks: [i + 20, i + 40, i],
            sample: { ...sample, seed, history: ids },
            maxNew,
            stopIds: [seed],
          };
        });
        const together = await run(model, quantum(seqs, { tokenBudget }));
        for (const [i, seq] of seqs.entries()) {
          const single = await run(alone, quantum([seq]));
          assert.equal(together.report.seqs[i], single.report.seqs[0]);
          assert.equal(
            together.tokens.filter(({ seq }) => seq === `${i}`),
            single.tokens,
          );
        }
      },
    ),
    { numRuns: 25, seed: 11 },
  );
});

test("a sequence cut into quanta equals the sequence in one", async () => {
  const model = models.f32!;
  const sample = { temperature: 1, topK: 0, topP: 0.9, minP: 0, repetitionPenalty: 1.2, seed: 9 };
  const ids = prompt(23, 6);
  const whole = (await run(model, quantum([{ ids, sample: { ...sample, history: ids }, maxNew: 20 }]))).report.seqs[0]!;
  const all = [...ids];
  let pos = 0;
  for (let maxSteps = 1; all.length < ids.length + 20; maxSteps = 1 + (maxSteps % 3)) {
    const rest = { pos, ids: all.slice(pos), blocks: [8, 9, 10, 11], sample: { ...sample, history: all } };
    const { report } = await run(
      model,
      quantum([{ ...rest, maxNew: ids.length + 20 - all.length }], { maxSteps, tokenBudget: 9 }),
    );
    pos = report.seqs[0]!.pos;
    all.push(...report.seqs[0]!.newIds);
  }
  assert.equal(all.slice(ids.length), whole.newIds);
});

test("a sequence moved to another engine goes on as if it had stayed", async () => {
  for (const [from, to] of [
    ["f32", "f32two"],
    ["int8", "int8two"],
  ] as const) {
    const given = { ids: prompt(25, 8), sample: everything(models[from]!), maxNew: 12 };
    const stayed = await run(models[from]!, quantum([given]));
    const begun = await run(models[from]!, quantum([{ ...given, blocks: [3, 4] }], { maxSteps: 4 }));
    const { pos, newIds } = begun.report.seqs[0]!;
    assert.is(models[from]!.numerics, models[to]!.numerics);
    models[to]!.writeBlocks([61, 17], models[from]!.readBlocks([3, 4]));
    const rest = { ...given, blocks: [61, 17, 2], pos, ids: newIds.slice(-1), maxNew: 12 - newIds.length };
    const moved = await run(models[to]!, quantum([rest]));
    assert.equal([...distributions(begun.tokens), ...distributions(moved.tokens)], distributions(stayed.tokens));
  }
});

test("sequences may share the blocks of a prefix, and a copied block continues on its own", async () => {
  const model = models.f32two!;
  const ids = prompt(37, 5);
  const alone = await run(model, quantum([{ ids, blocks: [0, 1, 2, 3], sample: everything(model), maxNew: 5 }]));
  await run(model, quantum([{ ids: ids.slice(0, 36), blocks: [10, 11, 12], sample: null }]));
  model.copyBlock(12, 13);
  const shared = { pos: 36, ids: ids.slice(36), sample: everything(model), maxNew: 5 };
  const { tokens } = await run(
    model,
    quantum([
      { ...shared, seq: "a", blocks: [10, 11, 12] },
      { ...shared, seq: "b", blocks: [10, 11, 13] },
    ]),
  );
  for (const seq of ["a", "b"])
    assert.equal(distributions(tokens.filter((token) => token.seq === seq)), distributions(alone.tokens));
});

test("what a block held before does not matter, not even NaN", async () => {
  const model = models.f32!;
  const expected = await trace(model, 64);
  const size = model.bytes.block;
  model.writeBlocks([7, 1, 30], new Uint8Array(3 * size).fill(0xff));
  const again = await trace(model, 64);
  assert.equal(again.distributions, expected.distributions);
  model.writeBlocks([7, 1, 30], new Uint8Array(3 * size));
});

test.run();
