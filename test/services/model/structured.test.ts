// Structured answers through a real system: schemas, tools, log-probabilities, and what happens to them when a device dies.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import { schemas, wrong } from "../device/grammar/schemas.ts";
import { modelFolder, startRunning } from "./running.ts";

const SCHEMAS = Number(process.env.SCHEMAS ?? 40);
let running: Awaited<ReturnType<typeof startRunning>>;

test.before(async () => {
  running = await startRunning();
  await running.client.call("model.importDir", { dir: modelFolder({ context: 1024, tools: true }), name: "small" });
  await running.client.call("model.deploy", { model: "small", alias: "default" });
});
test.after(() => running.stop());

const messages = [{ role: "user", content: "the quick brown" }];
const generate = (input: object) => running.generate({ model: "small", messages, ...input } as never);
const refused = (input: object, code: string, what: RegExp) =>
  generate(input).then(
    () => assert.unreachable("it was answered"),
    (error) => {
      assert.is(error.code, code, error.message);
      assert.match(error.message, what);
    },
  );
const weather = {
  function: {
    name: "weather",
    parameters: {
      type: "object",
      properties: { at: { $ref: "#/$defs/at" } },
      required: ["at"],
      $defs: { at: { enum: ["Rom", "Oslo"] } },
    },
  },
};
const clock = { function: { name: "clock" } };

test(`of ${SCHEMAS} schemas, many at a time, each answer is whole and valid or was refused before`, async () => {
  const seen = { answers: 0, refused: 0 };
  const asked = fc.sample(fc.tuple(schemas, fc.integer({ min: 8, max: 120 }), fc.integer({ min: 1, max: 999 })), {
    numRuns: SCHEMAS,
    seed: 11,
  });
  const one = async ([schema, maxTokens, seed]: (typeof asked)[number]) => {
    const sample = { temperature: seed % 3 === 0 ? 0 : 1, seed };
    try {
      const { text, end } = await generate({ format: { type: "json_schema", schema }, maxTokens, sample });
      assert.is(wrong(schema, text), undefined, `${text} of ${JSON.stringify(schema)}`);
      assert.is(end.finish, "stop");
      assert.is(end.text, text);
      seen.answers += 1;
    } catch (error) {
      assert.match((error as Error).message, /needs \d+ tokens at least and has/);
      seen.refused += 1;
    }
  };
  for (let i = 0; i < asked.length; i += 8) await Promise.all(asked.slice(i, i + 8).map(one));
  assert.ok(seen.answers > SCHEMAS / 2, JSON.stringify(seen));
});

test("any JSON object, also without a chat; what is not supported is refused with its name", async () => {
  const { text } = await running.generate({
    model: "small",
    prompt: "the",
    format: { type: "json_object" },
    maxTokens: 30,
  });
  assert.type(JSON.parse(text), "object");
  const schema = { type: "array", uniqueItems: true };
  await refused({ format: { type: "json_schema", schema } }, "EINVAL", /"uniqueItems" is not supported/);
  await refused({ format: { type: "json_object" }, stop: ["x"] }, "EINVAL", /would cut the JSON/);
  await refused(
    { format: { type: "json_schema", schema: { const: "x".repeat(99) } }, maxTokens: 9 },
    "EINVAL",
    /needs \d+ tokens/,
  );
  let deep: object = {};
  for (let i = 0; i < 70; i++) deep = { items: deep };
  await refused({ format: { type: "json_schema", schema: deep } }, "EINVAL", /nested deeper/);
});

test("a device that dies in the middle changes nothing, nor does a caller that goes on with what it has", async () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string", minLength: 60 }, n: { type: "integer" } },
    required: ["name", "n"],
  };
  const input = { format: { type: "json_schema", schema }, maxTokens: 220, sample: { temperature: 0.8, seed: 5 } };
  const straight = await generate(input);
  assert.is(wrong(schema, straight.text), undefined);
  let killed = false;
  const again = await running.generate({ model: "small", messages, ...input } as never, {}, () => {
    if (killed) return;
    killed = true;
    running.programs.device.kill("SIGKILL");
    void running.kernel.start("device");
  });
  assert.equal(again.ids, straight.ids);
  for (const at of [1, 30, straight.ids.length - 1, straight.ids.length]) {
    const { ids, end } = await generate({ ...input, resume: { ids: straight.ids.slice(0, at) } });
    assert.equal([...straight.ids.slice(0, at), ...ids], straight.ids);
    assert.is(end.text, straight.text);
    assert.is(end.finish, "stop");
  }
});

test("a tool that must be called is called, with arguments of its schema", async () => {
  const sample = { temperature: 1, seed: 3 };
  const { end, text } = await generate({ tools: [clock, weather], toolChoice: { name: "weather" }, sample });
  assert.is(text, "");
  assert.is(end.finish, "toolCalls");
  const [call] = end.toolCalls!;
  assert.is(call!.name, "weather");
  assert.ok(["Rom", "Oslo"].includes(JSON.parse(call!.arguments).at), call!.arguments);
  assert.match(call!.id, /^[a-z0-9]{9}$/);
  const any = await generate({ tools: [clock, weather], toolChoice: "required", maxTokens: 60, sample });
  assert.ok(["clock", "weather"].includes(any.end.toolCalls![0]!.name));
  // What was called and answered can be told to the model.
  const told = [
    ...messages,
    { role: "assistant", content: "", toolCalls: end.toolCalls },
    { role: "tool", content: "rain", toolCallId: call!.id },
  ];
  const free = await generate({ messages: told, tools: [weather], maxTokens: 5 });
  assert.is(free.end.usage.newTokens, 5);
  await refused({ tools: [clock], toolChoice: { name: "nope" } }, "EINVAL", /none of the tools/);
  await refused({ tools: [clock], format: { type: "json_object" } }, "EINVAL", /not both/);
});

test("log-probabilities come with each token, and the likeliest beside it", async () => {
  const { chunks, ids } = (await generate({ maxTokens: 6, logprobs: 3 })) as {
    chunks: Partial<Output<"model.generate">>[];
    ids: number[];
  };
  const of = (field: string) =>
    chunks.flatMap((chunk) => ((chunk as Record<string, unknown[]>)[field] ?? []) as never[]);
  const [logprobs, tops, tokens] = [
    of("logprobs") as number[],
    of("topLogprobs") as { id: number; logprob: number }[][],
    of("tokens"),
  ];
  assert.is(logprobs.length, ids.length);
  assert.is(tokens.length, ids.length);
  ids.forEach((id, i) => {
    // Greedy: the one that was taken is the likeliest.
    assert.is(tops[i]!.length, 3);
    assert.equal([tops[i]![0]!.id, tops[i]![0]!.logprob], [id, logprobs[i]]);
    assert.ok(tops[i]![0]!.logprob >= tops[i]![1]!.logprob && logprobs[i]! < 0);
  });
  assert.is(of("text").join("").length > 0, true);
});

test.run();
