import { test } from "uvu";
import * as assert from "uvu/assert";
import { columns } from "../../../../userland/shell/render/table.ts";
import { breakdown, summary, tree, waterfall } from "../../../../userland/shell/render/waterfall.ts";

const span = (name: string, at: number, ms: number, parent = "r", more: object = {}) => ({
  ...{ trace: "t", span: name, parent, name, actor: "model-1", epoch: 1, at, ms },
  ...more,
});
/** 100 ms: 5 planning, 20 queued, 10 prefill, 50 decoding, and a quantum that takes 5 more than the device. */
const SPANS = [
  span("r", 0, 100, "", { name: "model.generate", code: "OK" }),
  span("plan", 0, 5),
  span("run", 10, 88),
  span("s", 11, 86, "r", { name: "scheduler.run", code: "OK", actor: "scheduler-1" }),
  span("queue", 11, 20, "s"),
  span("quantum", 31, 65, "s"),
  span("prefill", 33, 10, "s", { actor: "device-1" }),
  span("decode", 43, 50, "s", { actor: "device-1" }),
];

test("the time of a call is divided among what it went into, without rest", () => {
  const parts = breakdown(SPANS);
  assert.equal(parts, { prefill: 10, decode: 50, queueing: 20, loading: 0, bus: 8, services: 12 });
  assert.is(summary(SPANS).split(",")[0], "decode 50.0 ms (50 %)");
});

test("each span stands below its caller, and one whose caller was not kept at the top", () => {
  const orphan = span("lost", 50, 1, "nobody");
  assert.equal(
    tree([...SPANS, orphan]).map(({ span, depth }) => `${depth} ${span.span}`),
    ["0 r", "1 plan", "1 run", "1 s", "2 queue", "2 quantum", "2 prefill", "2 decode", "0 lost"],
  );
});

test("a waterfall has 80 columns at most, and each bar where its time was", () => {
  const long = span("翻译".repeat(20), 0, 100);
  const lines = waterfall([...SPANS, long], (_kind, bar) => bar).split("\n");
  for (const line of lines) assert.ok(columns(line) <= 80, line);
  const decode = lines.find((line) => /^ +decode/.test(line))!;
  // 30 characters for 100 ms, after 24 and 12 and two spaces.
  assert.is(decode.indexOf("█"), 38 + Math.floor(43 * 0.3));
  assert.is(decode.split("█").length - 1, 28 - 12);
});

test("nothing at all is no picture", () =>
  assert.is(
    waterfall([], (_k, bar) => bar),
    "",
  ));

test.run();
