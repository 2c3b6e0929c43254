import { test } from "uvu";
import * as assert from "uvu/assert";
import { activePaths, chartMermaid, chartTree, readChart } from "../../../../userland/shell/render/statechart.ts";

const chart = readChart({
  key: "resident",
  type: "compound",
  initial: "absent",
  on: [{ event: "release", targets: [] }],
  states: [
    { key: "absent", on: [{ event: "need", targets: ["here.used"] }], states: [] },
    {
      key: "here",
      initial: "idle",
      on: [],
      states: [
        {
          key: "idle",
          on: [{ event: "xstate.after.5000.resident.here.idle", targets: ["absent"], guard: "unwanted" }],
          states: [],
        },
        { key: "used", on: [{ event: "xstate.error.actor.0.x", targets: ["absent"] }], states: [] },
      ],
    },
  ],
})!;

test("a chart is a tree with the current states marked, each transition below its state", () => {
  const text = chartTree(chart, "here.idle", (line) => `*${line}`);
  assert.is(
    text,
    [
      "  release",
      "  absent",
      "    need -> here.used",
      "*> here",
      "*>   idle",
      "      after 5000 ms [unwanted] -> absent",
      "    used",
      "      failed -> absent",
    ].join("\n"),
  );
});

test("the states above a nested one are current with it, and so are parallel ones", () => {
  assert.equal([...activePaths("a.b+c.d")], ["a", "a.b", "c", "c.d"]);
});

test("Mermaid source names every state once, nests them, and classes the current ones", () => {
  const text = chartMermaid(chart, "here.idle");
  assert.is(text.split("\n")[0], "stateDiagram-v2");
  for (const name of ["absent", "here", "here_idle", "here_used"])
    assert.is(text.split("\n").filter((line) => line.endsWith(` as ${name}`)).length, 1, name);
  assert.match(text, "[*] --> absent");
  assert.match(text, "state here {");
  assert.match(text, "absent --> here_used: need");
  assert.match(text, "class here_idle current");
  assert.is(text.split("{").length, text.split("}").length);
});

test("an actor that is no statechart has none", () => {
  assert.is(readChart(undefined), undefined);
  assert.is(readChart({ key: 1 }), undefined);
});

test.run();
