// One call over four real services: its spans are one tree, and its time is accounted for.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isSomaError } from "../../../kernel/abi/errors.ts";
import { readTrace } from "../../../kernel/traces.ts";
import { breakdown } from "../../../userland/shell/render/waterfall.ts";
import { until } from "../../helpers/system.ts";
import { modelFolder, startRunning } from "./running.ts";

const PARENT = "c".repeat(16);
let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
  await system.client.call("model.importDir", { dir: modelFolder(), name: "fox" });
});
test.after(async () => {
  await system.stop();
});

/** The trace once it holds a span of that name; spans come in batches. */
async function traceOf(id: string, name: string) {
  let found: Awaited<ReturnType<typeof readTrace>> | undefined;
  await until(`a trace of ${id} with ${name}`, async () => {
    found = await readTrace(system.kernel.bus, id, new AbortController().signal).catch((error) => {
      if (isSomaError(error, "ENOENT")) return undefined;
      throw error;
    });
    return found?.spans.some((span) => span.name === name) === true;
  });
  return found!;
}

test("a call's spans come from every service on its way, under the caller's own trace", async () => {
  const trace = "d".repeat(32);
  const stream = system.client.stream(
    "model.generate",
    { model: "fox", prompt: "the quick brown MARKER", maxTokens: 24 },
    { traceparent: `00-${trace}-${PARENT}-01` },
  );
  let ids = 0;
  for await (const chunk of stream) ids += chunk.ids.length;
  await traceOf(trace, "decode");
  const { spans } = await traceOf(trace, "model.generate");
  const of = (name: string) => spans.filter((span) => span.name === name);
  const [root] = of("model.generate");
  const [scheduled] = of("scheduler.run");
  assert.equal([root?.parent, root?.code, root?.caller, root?.id], [PARENT, "OK", "person", stream.id]);
  assert.equal([scheduled?.parent, scheduled?.principal, scheduled?.actor], [root?.span, "person", "scheduler-1"]);
  for (const name of ["plan", "load", "run"]) assert.is(of(name)[0]?.parent, root?.span, name);
  for (const name of ["quantum", "prefill", "decode"]) {
    assert.ok(of(name).length > 0, name);
    for (const span of of(name)) assert.is(span.parent, scheduled?.span, name);
  }
  assert.is(of("prefill")[0]?.actor, "device-1");
  const tokens = (name: string) => of(name).reduce((sum, { figures }) => sum + Number(figures?.tokens), 0);
  assert.equal([tokens("quantum"), tokens("decode"), tokens("run")], [ids, ids, ids]);
  // Each span lies within its parent, as far as clocks of two processes agree.
  for (const { at, ms, name } of spans)
    assert.ok(at >= root!.at - 5 && at + ms <= root!.at + root!.ms + 5, `${name} is outside of its call`);
  const total = Object.values(breakdown(spans)).reduce((sum, ms) => sum + ms, 0);
  assert.ok(Math.abs(total - root!.ms) < 0.01, `${total} of ${root!.ms} ms are accounted for`);
  assert.not.match(JSON.stringify(spans), /MARKER|quick/);
});

test("a call that fails is traced though its caller did not ask", async () => {
  const stream = system.client.stream(
    "model.generate",
    { model: "nobody", prompt: "the quick", maxTokens: 4 },
    { traceparent: `00-${"e".repeat(32)}-${PARENT}-00` },
  );
  const error = await stream.result.then(
    () => undefined,
    (error) => error,
  );
  assert.ok(isSomaError(error), String(error));
  const { spans } = await traceOf(stream.id, "model.generate");
  assert.is(spans.find(({ name }) => name === "model.generate")?.code, error.code);
});

test.run();
