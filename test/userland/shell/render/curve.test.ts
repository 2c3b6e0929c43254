import { test } from "uvu";
import * as assert from "uvu/assert";
import { lossChart } from "../../../../userland/shell/render/curve.ts";
import { columns } from "../../../../userland/shell/render/table.ts";

const falling = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ step: 10 * (i + 1), loss: 5 * 0.99 ** i, validationLoss: 6 - i / count }));

test("a curve fits 80 columns however many points it has, and falls from its first to its last", () => {
  for (const count of [2, 66, 500]) {
    const lines = lossChart(falling(count)).split("\n");
    for (const line of lines) assert.ok(columns(line) <= 80, line);
    const marks = lines.slice(0, -1).map((line) => line.search(/[┼┤]/));
    assert.is(new Set(marks).size, 1, "one axis");
    const [top, bottom] = [lines[0]!, lines.at(-2)!].map((line) => Number.parseFloat(line));
    assert.ok(Math.abs(top! - 5) < 0.02 && bottom! < top!, `${top} ${bottom}`);
  }
});

test("below it stands what it began and ended with, and how it did on what it never saw", () => {
  assert.match(lossChart(falling(100)), "loss 5.0000 at step 10, 1.8486 at step 1000, validation 5.0100");
  const [first, last] = [
    { step: 1, loss: 2 },
    { step: 2, loss: 1 },
  ];
  assert.ok(lossChart([first, last]).endsWith("loss 2.0000 at step 1, 1.0000 at step 2"));
});

test("no point and one point are no curve", () => {
  assert.is(lossChart([]), "");
  assert.is(lossChart([{ step: 1, loss: 2 }]), "");
});

test.run();
