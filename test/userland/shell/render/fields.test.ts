import { test } from "uvu";
import * as assert from "uvu/assert";
import { fields } from "../../../../userland/shell/render/fields.ts";
import { columns } from "../../../../userland/shell/render/table.ts";

test("a record of any depth is a line for each value, aligned", () => {
  const record = {
    name: "中",
    loss: 0.123456,
    config: { layers: 4, heads: [1, 2] },
    eval: [{ cases: 159 }],
    no: undefined,
  };
  assert.equal(fields(record).split("\n"), [
    "name           中",
    "loss           0.1235",
    "config.layers  4",
    "config.heads   1, 2",
    "eval.0.cases   159",
  ]);
  assert.is(fields({}), "");
});

test("what finds no room beside its name stands below it, and a hash stays whole", () => {
  const checkpoint = `blob:${"a".repeat(64)}`;
  const lines = fields({ "progress.validationLoss": 1, checkpoint, note: "今天天气很好 ".repeat(20).trim() }).split(
    "\n",
  );
  assert.equal(lines.slice(1, 3), ["checkpoint", `  ${checkpoint}`]);
  for (const line of lines) assert.ok(columns(line) <= 80, line);
});

test.run();
