import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { columns, table } from "../../../../userland/shell/render/table.ts";

const lines = (text: string) => stripVTControlCharacters(text).split("\n");

test("Chinese and other wide characters take two columns", () => {
  const cases: [string, number][] = [
    ["", 0],
    ["abc", 3],
    ["今天天气很好", 12],
    ["你好，世界", 10],
    ["aé中", 4],
    ["한글ｱカ", 7],
    ["𠀀", 2],
  ];
  for (const [text, width] of cases) assert.is(columns(text), width, text);
});

test("columns are aligned whatever stands before them", () => {
  const rows = [
    ["tiny", "今天天气很好", 5],
    ["中文模型", "weather", 12345],
  ];
  const text = lines(table(["MODEL", "TEXT", ">SIZE"], rows, 80));
  assert.equal(text, [
    "MODEL     TEXT           SIZE",
    "tiny      今天天气很好      5",
    "中文模型  weather       12345",
  ]);
});

test("without rows the head stands alone", () => {
  assert.equal(lines(table(["A", ">B"], [], 80)), ["A  B"]);
});

test("a row that ends early is one line as any other", () => {
  assert.equal(lines(table(["A", "B", "C"], [["x"], ["y", 1, 2]], 80)), ["A  B  C", "x", "y  1  2"]);
});

test("what is not there is empty, not a word", () => {
  assert.equal(lines(table(["A", "B"], [[undefined, 0]], 80)), ["A  B", "   0"]);
});

test("any table fits 80 columns, and no cell disturbs its neighbours", () => {
  const cell = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "B", "7", "-", "中", "文", "，"), maxLength: 120 }),
    fc.integer(),
    fc.constant(undefined),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }).chain((count) =>
        fc.record({
          head: fc.array(fc.constantFrom("ID", ">SIZE", "NOTE", "STATE"), { minLength: count, maxLength: count }),
          rows: fc.array(fc.array(cell, { minLength: count, maxLength: count }), { maxLength: 6 }),
        }),
      ),
      ({ head, rows }) => {
        const text = lines(table(head, rows, 80));
        assert.is(text.length, rows.length + 1);
        for (const line of text) assert.ok(columns(line) <= 80, `${columns(line)}: ${line}`);
      },
    ),
    { numRuns: 200 },
  );
});

test("what was cut says so, and short cells stay whole", () => {
  const [, row] = lines(table(["ID", "NOTE"], [["model-1", "x".repeat(200)]], 80));
  assert.ok(row!.startsWith("model-1  xxx"));
  assert.match(row!, /x…$/);
  assert.is(columns(row!), 80);
});

test.run();
