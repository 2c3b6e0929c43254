import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Building, build, type Card } from "../../../../services/model/data/build.ts";
import { HeldOut } from "../../../../services/model/data/heldout.ts";

const rules = { minChars: 2, maxChars: 1000, languages: [], near: 0.8 };

async function made(lines: readonly string[], options: Partial<Building> = {}) {
  const shards: string[] = [];
  async function* pieces() {
    yield `${lines.join("\n")}\n`;
  }
  const card: Card = await build(pieces(), {
    ...{ from: "a test", rules, against: [], heldOut: new HeldOut(), progress: () => {} },
    shard: async (bytes) => void shards.push(Buffer.from(bytes).toString()),
    ...options,
  });
  return {
    card,
    shards,
    rows: shards.flatMap((shard) =>
      shard
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ),
  };
}
const line = (source: string, target: string) => JSON.stringify({ source, target, task: "translate" });
const text = (value: string) => JSON.stringify({ text: value });

test("each line is kept or dropped for one reason, and all are counted", async () => {
  const heldOut = new HeldOut();
  heldOut.add({ task: "translate", source: "secret", target: "x", origin: "user" });
  const long = Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ");
  const { card, rows } = await made(
    [
      line("Hello", "你好"),
      "{ broken",
      line(" hello ", "你好"),
      text("x"),
      text("y".repeat(1001)),
      line("Secret", "给"),
      text(long),
      text(`${long} more`),
      text("\ufffd\ufffd\ufffd"),
      '{"text": 5}',
    ],
    { heldOut },
  );
  const { read, kept, dropped } = card;
  assert.equal([read, kept], [10, 2]);
  assert.equal(dropped, {
    ...{ malformed: 2, duplicate: 1, short: 1, long: 1, "held out": 1, "near duplicate": 1, garbled: 1 },
  });
  assert.match(card.examples.malformed?.[0] ?? "", /^2: not JSON/);
  assert.match(card.examples["near duplicate"]?.[0] ?? "", /^8: word0 word1/);
  assert.equal(
    rows.map(({ task, source }) => [task, source]),
    [
      ["translate", "Hello"],
      ["complete", ""],
    ],
  );
  assert.is(
    Object.values(card.splits).reduce((sum, count) => sum + count),
    2,
  );
});

test("the same lines give the same shards, and tokens are counted by a tokenizer", async () => {
  const lines = Array.from({ length: 500 }, (_, i) => line(`source number ${i} ${i * i}`, `target ${i}`));
  const [first, second] = [
    await made(lines, { tokenizer: { model: "m@1", count: (value) => value.length } }),
    await made(lines),
  ];
  assert.equal(first.shards, second.shards);
  assert.equal(first.card.tokens, { model: "m@1", count: first.card.characters });
  const { train, validation, test } = first.card.splits;
  assert.is(train + validation + test, first.card.kept);
  assert.ok(test > 5 && test < 60, `${test} of ${first.card.kept}`);
  const { card } = await made(
    Array.from({ length: 300 }, (_, i) => text(`a text of its own, number ${i * 7919}`)),
    {
      rules: { ...rules, near: 0 },
    },
  );
  assert.ok(card.splits.test > 2, "texts without a question are split by what they say");
});

test("shards are shipped as they fill, so that one is in memory at a time", async () => {
  const rows = 150;
  const big = Array.from({ length: rows }, (_, i) => text(`${i} `.repeat(20_000)));
  let inMemory = 0;
  const { card, shards } = await made(big, {
    rules: { ...rules, maxChars: 200_000, near: 0 },
    shard: async (bytes) => {
      inMemory = Math.max(inMemory, bytes.length);
    },
  });
  assert.equal([card.kept, shards.length], [rows, 0]);
  assert.ok(inMemory < 9 * 1024 * 1024, `${inMemory} bytes at once`);
});

test("a set with nothing left says what became of it", async () => {
  try {
    await made(["{", text("a")]);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /nothing is left of 2 lines: 1 malformed, 1 short; the first is line 1:/);
  }
});

test.run();
