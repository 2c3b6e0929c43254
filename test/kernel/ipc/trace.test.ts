import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Span, Tracer, traceRatio } from "../../../kernel/ipc/trace.ts";

const HEADER = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
const about = { code: "OK", id: "c1", caller: "chat", principal: "chat" };

function setup(ratio: number) {
  const spans: Span[] = [];
  const clock = { now: 0 };
  const options = { actor: "model-1", epoch: 3, ratio, origin: 1_000, now: () => clock.now };
  const tracer = new Tracer({ ...options, publish: (batch) => spans.push(...batch) });
  return { spans, clock, tracer };
}

/** So many calls end one after another, `every` ms apart, each `ms` long; how many of them were kept. */
function kept(
  { spans, clock, tracer }: ReturnType<typeof setup>,
  calls: number,
  every: number,
  ms: number,
  code = "OK",
) {
  for (let i = 0; i < calls; i++) {
    const trace = tracer.begin("");
    const from = clock.now;
    clock.now += ms;
    trace.end("model.generate", from, { ...about, code });
    tracer.flush();
    clock.now += every - ms;
  }
  return spans.splice(0).length;
}

test("a request continues the trace that it came with, and hands on its own span", () => {
  const { spans, tracer, clock } = setup(0.5);
  const trace = tracer.begin(HEADER);
  assert.match(trace.traceparent, /^00-a{32}-[0-9a-f]{16}-01$/);
  trace.add("queue", 1, 3, { tokens: 4 });
  clock.now = 5;
  trace.end("model.generate", 0, about);
  tracer.flush();
  const [queue, whole] = spans;
  assert.equal([whole?.parent, whole?.at, whole?.ms, whole?.id, whole?.epoch], ["b".repeat(16), 1_000, 5, "c1", 3]);
  assert.equal([queue?.parent, queue?.at, queue?.ms, queue?.figures], [whole?.span, 1_001, 2, { tokens: 4 }]);
  assert.is(trace.traceparent.split("-")[2], whole?.span);
});

test("a malformed or empty context begins a new trace", () => {
  const { tracer } = setup(1);
  for (const header of ["", "x", `00-${"0".repeat(32)}-${"b".repeat(16)}-01`, HEADER.slice(1), `${HEADER}-more`]) {
    const [, trace, span] = tracer.begin(header).traceparent.split("-");
    assert.match(trace!, /^(?!a+$)[0-9a-f]{32}$/, header);
    assert.match(span!, /^[0-9a-f]{16}$/);
  }
});

test("on a quiet system every call is kept, of a flood some", () => {
  const quiet = setup(0.01);
  assert.is(kept(quiet, 50, 500, 1), 50);
  const flooded = kept(setup(0.01), 5_000, 1, 0.5);
  // 20 at first, 5 a second for 5 seconds, and one in a hundred of the others.
  assert.ok(flooded > 40 && flooded < 200, String(flooded));
});

test("what failed and what was slow for its kind is kept whatever the share", () => {
  const busy = setup(0.0001);
  kept(busy, 2_000, 1, 0.5);
  assert.is(kept(busy, 10, 0.5, 0.5, "EIO"), 10);
  assert.is(kept(busy, 1, 1, 2_000), 1);
});

test("a call that others decided not to keep keeps its parts only if it fails", () => {
  const { spans, tracer } = setup(1);
  for (const code of ["OK", "ETIME"]) {
    const trace = tracer.begin(HEADER.replace(/1$/, "0"));
    trace.add("queue", 0, 1);
    trace.end("scheduler.run", 0, { ...about, code });
  }
  tracer.flush();
  assert.equal(
    spans.map(({ name, code }) => [name, code]),
    [
      ["queue", undefined],
      ["scheduler.run", "ETIME"],
    ],
  );
});

test("a share of 0 turns tracing off, but not the context", () => {
  const { spans, tracer } = setup(0);
  const trace = tracer.begin(HEADER);
  trace.add("queue", 0, 1);
  trace.end("scheduler.run", 0, { ...about, code: "EIO" });
  tracer.flush();
  assert.is(spans.length, 0);
  assert.match(trace.traceparent, /^00-a{32}-[0-9a-f]{16}-00$/);
});

test("spans that nobody takes away do not pile up", () => {
  const { spans, tracer } = setup(1);
  tracer.keep(Array.from({ length: 5_000 }, () => tracer.span("t", "", "x", 0, 1)));
  assert.is(spans.length, 2_048);
  assert.is(tracer.lost, 5_000 - 2_048);
});

test("SOMA_TRACE is a share, or the default", () => {
  const cases: [string | undefined, number][] = [
    ["1", 1],
    ["0", 0],
    ["0.5", 0.5],
    ["", 0.02],
    [undefined, 0.02],
    ["many", 0.02],
    ["2", 0.02],
  ];
  for (const [text, ratio] of cases) assert.is(traceRatio(text), ratio, text);
});

test.run();
