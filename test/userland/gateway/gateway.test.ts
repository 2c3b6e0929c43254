// The gateway as clients see it: a whole system, the gateway run as an app, and the clients that people have, unchanged.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ChatOpenAI } from "@langchain/openai";
import { generateObject, generateText, jsonSchema, streamText } from "ai";
import OpenAI from "openai";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "../../../kernel/ipc/client.ts";
import { GATEWAY } from "../../../userland/shell/commands/app.ts";
import { runLine, Session } from "../../../userland/shell/program.ts";
import { System, until } from "../../helpers/system.ts";
import { modelFolder } from "../../services/model/running.ts";

let system: System;
let person: Client;
const session = new Session();
/** What the gateway printed. */
let printed = "";
let baseURL = "";
let key = "";

/** A line of the shell; its output. */
async function soma(line: string, wanted = 0): Promise<string> {
  let text = "";
  const out = (piece: string) => {
    text += piece;
  };
  const settings = { session, signal: new AbortController().signal, interactive: false, out, err: out };
  assert.is(await runLine(line.split(" "), settings), wanted, text);
  return text.trim();
}

const openai = (apiKey = key) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (text: string, more: object = {}) => ({
  model: "default",
  messages: [{ role: "user" as const, content: text }],
  max_tokens: 8,
  ...more,
});
const post = (path: string, body: unknown, headers: Record<string, string> = { authorization: `Bearer ${key}` }) =>
  fetch(baseURL + path, { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => assert.unreachable("it was answered"),
    (error: InstanceType<typeof OpenAI.APIError>) => error,
  ) as Promise<InstanceType<typeof OpenAI.APIError>>;
const queue = async () => (await person.call("scheduler.queue", {})).sequences;
const tokensSpent = async (holder: string) => {
  const row = (await person.call("auth.apps", {})).budgets.find((candidate) => candidate.holder === holder)!;
  return row.leased === 0 ? row.spent : undefined;
};

test.before(async () => {
  system = new System();
  process.env.SOMA_HOME = system.home;
  person = await system.up();
  await person.call("model.importDir", { dir: modelFolder({ context: 8192, tools: true }), name: "small" });
  await person.call("model.deploy", { model: "small", alias: "default" });
  await person.call("auth.install", { app: "gateway", needs: ["auth.credential"], approve: true });
  const run = person.stream("kernel.spawn", { app: GATEWAY, args: ["--port=0"] });
  void (async () => {
    for await (const { data } of run) printed += Buffer.from(data).toString();
  })().catch((error) => {
    printed += String(error);
  });
  await until("the gateway listens", () => /http:\S+\/v1/.test(printed), { text: printed });
  baseURL = /http:\S+\/v1/.exec(printed)![0];
  key = await soma("key create alice --tokens 1m/day");
});
test.after(async () => {
  await session.close();
  await system.stop();
});

test("a key is shown once, listed by its name, and taken by the official client", async () => {
  assert.match(key, /^sk-soma-SU[A-Z2-7]{56}$/);
  const listed = await soma("key ls");
  assert.match(listed, /alice +all +never +1000000 of 1000000 tokens/);
  assert.not.match(listed, key.slice(8));
  assert.match(await soma("key create alice", 73), /there is a key "alice"/);
  const models = await openai().models.list();
  assert.equal(models.data.map(({ id }) => id).sort(), ["default", "small"]);
  assert.is((await openai().models.retrieve("small")).owned_by, "soma");
});

test("a chat is answered whole with its usage, and the same in pieces", async () => {
  const answer = await openai().chat.completions.create(ask("the fox"));
  const { message, finish_reason } = answer.choices[0]!;
  assert.ok(message.content!.length > 0);
  assert.is(finish_reason, "length");
  assert.is(answer.usage!.completion_tokens, 8);
  assert.is(answer.usage!.total_tokens, answer.usage!.prompt_tokens + 8);
  const stream = await openai().chat.completions.create({
    ...ask("the fox"),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  const ends: unknown[] = [];
  let total: unknown;
  for await (const { choices, usage } of stream) {
    text += choices[0]?.delta.content ?? "";
    if (choices[0]?.finish_reason) ends.push(choices[0].finish_reason);
    total = usage ?? total;
  }
  assert.is(text, message.content);
  assert.equal(ends, ["length"]);
  assert.is((total as { completion_tokens: number }).completion_tokens, 8);
});

test("seed and temperature choose the text; a stop string ends it before it", async () => {
  const one = async (more: object) =>
    (await openai().chat.completions.create(ask("lazy dog", { max_tokens: 24, ...more }))).choices[0]!;
  const [a, b, c] = [
    await one({ temperature: 1, seed: 5 }),
    await one({ temperature: 1, seed: 5 }),
    await one({ temperature: 1, seed: 6 }),
  ];
  assert.is(a.message.content, b.message.content);
  assert.is.not(a.message.content, c.message.content);
  const text = (await one({})).message.content!;
  const stop = text.slice(4, 7);
  const cut = await one({ stop });
  assert.is(cut.message.content, text.slice(0, text.indexOf(stop)));
  assert.is(cut.finish_reason, "stop");
});

test("a bare prompt is continued, whole and in pieces", async () => {
  const request = { model: "small", prompt: "the quick brown", max_tokens: 6 };
  const { choices, object } = await openai().completions.create(request);
  assert.is(object, "text_completion");
  let text = "";
  for await (const piece of await openai().completions.create({ ...request, stream: true }))
    text += piece.choices[0]?.text ?? "";
  assert.is(text, choices[0]!.text);
});

test("texts get vectors, the same as the system gives, in both encodings", async () => {
  const input = ["the fox", "the dog"];
  const { vectors, usage: used } = await person.call("model.embed", { texts: input });
  for (const encoding_format of [undefined, "float"] as const) {
    const { data, usage } = await openai().embeddings.create({
      model: "default",
      input,
      ...(encoding_format ? { encoding_format } : {}),
    });
    assert.equal(
      data.map(({ embedding }) => embedding.map(Math.fround)),
      vectors.map((vector) => vector.map(Math.fround)),
    );
    assert.is(usage.prompt_tokens, used.promptTokens);
  }
  const ids = await Promise.all(input.map(async (text) => [0, ...(await person.call("model.tokenize", { text })).ids]));
  const given = await openai().embeddings.create({ model: "default", input: ids });
  assert.equal(
    given.data.map(({ embedding }) => embedding.map(Math.fround)),
    vectors.map((vector) => vector.map(Math.fround)),
  );
  const one = await openai().embeddings.create({ model: "default", input: ids[1]! });
  assert.equal(one.data.length, 1);
  assert.equal(one.data[0]!.embedding, given.data[1]!.embedding);
  const short = await failure(openai().embeddings.create({ model: "default", input, dimensions: 8 }));
  assert.is(short.status, 400);
  assert.match(short.message, /dimensions is not supported/);
});

const PERSON = {
  type: "object",
  properties: { name: { type: "string", maxLength: 20 }, age: { type: "integer", minimum: 0, maximum: 130 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const format = (schema: object) => ({
  type: "json_schema" as const,
  json_schema: { name: "person", schema: { ...schema } },
});

test("an answer in the form of a JSON Schema is whole and valid, also in pieces; what cannot be is refused", async () => {
  const request = { ...ask("who?", { max_tokens: 60, temperature: 1, seed: 2 }), response_format: format(PERSON) };
  const { choices } = await openai().chat.completions.create(request);
  const value = JSON.parse(choices[0]!.message.content!);
  assert.equal(Object.keys(value), ["name", "age"]);
  assert.ok(value.age >= 0 && value.age <= 130);
  assert.is(choices[0]!.finish_reason, "stop");
  const streamed = await openai().chat.completions.stream(request).finalChatCompletion();
  assert.is(streamed.choices[0]!.message.content, choices[0]!.message.content);
  const any = await openai().chat.completions.create({ ...ask("who?"), response_format: { type: "json_object" } });
  assert.type(JSON.parse(any.choices[0]!.message.content!), "object");
  for (const stream of [false, true]) {
    const few = await failure(openai().chat.completions.create({ ...request, max_tokens: 3, stream } as never));
    assert.is(few.status, 400);
    assert.match(few.message, /needs \d+ tokens at least and has 3/);
  }
  const odd = await failure(openai().chat.completions.create({ ...request, response_format: format({ not: {} }) }));
  assert.match(odd.message, /keyword "not" is not supported/);
});

test("tools are called when they must be, whole and in pieces, and their answers go back to the model", async () => {
  const tools = [{ type: "function" as const, function: { name: "find", parameters: PERSON } }];
  const request = { ...ask("who?", { max_tokens: 60 }), tools, tool_choice: "required" as const };
  const { choices } = await openai().chat.completions.create(request);
  const { message, finish_reason } = choices[0]!;
  assert.equal([finish_reason, message.content], ["tool_calls", null]);
  const [call] = message.tool_calls!;
  assert.ok(call?.type === "function" && call.function.name === "find");
  assert.equal(Object.keys(JSON.parse(call.function.arguments)), ["name", "age"]);
  const streamed = (await openai().chat.completions.stream(request).finalChatCompletion()).choices[0]!;
  assert.is(streamed.finish_reason, "tool_calls");
  const [piece] = streamed.message.tool_calls!;
  assert.ok(piece?.type === "function");
  assert.is(piece.function.arguments, call.function.arguments);
  const answer = { role: "tool" as const, tool_call_id: call.id, content: "nobody" };
  const after = await openai().chat.completions.create({
    ...request,
    messages: [...request.messages, message, answer],
    tool_choice: "none",
  });
  assert.is(after.choices[0]!.finish_reason, "length");
});

test("log-probabilities of tokens and of those beside them come whole and in pieces", async () => {
  const request = ask("the fox", { logprobs: true, top_logprobs: 2 });
  const { choices } = await openai().chat.completions.create(request);
  const { content } = choices[0]!.logprobs!;
  assert.is(content!.length, 8);
  for (const { token, logprob, top_logprobs } of content!) {
    assert.is(top_logprobs.length, 2);
    assert.equal([top_logprobs[0]!.token, top_logprobs[0]!.logprob], [token, logprob]);
  }
  const pieces: unknown[] = [];
  for await (const { choices } of await openai().chat.completions.create({ ...request, stream: true }))
    pieces.push(...(choices[0]?.logprobs?.content ?? []));
  assert.equal(pieces, content);
  const old = await openai().completions.create({
    model: "small",
    prompt: "the quick brown",
    max_tokens: 4,
    logprobs: 1,
  });
  assert.is(old.choices[0]!.logprobs!.tokens!.length, 4);
});

test("a client that leaves ends its work: nothing runs any more, and only what was computed is charged", async () => {
  const bob = await soma("key create bob --tokens 1m/day");
  const long = ask("the quick", { max_tokens: 8000 });
  const stream = await openai(bob).chat.completions.create({ ...long, stream: true });
  let pieces = 0;
  for await (const _ of stream) if (++pieces === 3) break;
  await until("nothing runs after the stream", async () => (await queue()).length === 0);
  // Whole answers, too: left once it runs.
  const abort = new AbortController();
  const whole = failure(openai(bob).chat.completions.create(long, { signal: abort.signal }));
  await until("it runs under the key's name", async () => (await queue())[0]?.principal === "key-bob");
  abort.abort();
  await whole;
  await until("nothing runs after the whole answer", async () => (await queue()).length === 0);
  let spent: number | undefined;
  await until("all leases are settled", async () => (spent = await tokensSpent("key-bob")) !== undefined);
  assert.ok(spent! > 0 && spent! < 8000, `${spent} tokens were charged`);
});

test("what is refused is refused in OpenAI's words", async () => {
  const none = await failure(openai().chat.completions.create(ask("hi", { model: "nope" })));
  assert.equal([none.status, none.code], [404, "model_not_found"]);
  const bad = await failure(openai().chat.completions.create(ask("hi", { temperature: 99 })));
  assert.equal([bad.status, bad.type, bad.param], [400, "invalid_request_error", "temperature"]);
  assert.match((await failure(openai().chat.completions.create(ask("hi", { n: 2 })))).message, /n other than 1/);
  assert.is((await post("/chat/completions", "{")).status, 400);
  assert.is((await post("/chat/completions", { model: "x".repeat(1_100_000) })).status, 413);
  assert.is((await post("/nothing", {})).status, 404);
  const strangers = ["sk-soma-nonsense", `${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}`, "sk-other"];
  for (const stranger of strangers) assert.is((await failure(openai(stranger).models.list())).status, 401);
  const nobody = await post("/chat/completions", ask("hi"), {});
  assert.is(nobody.status, 401);
  assert.is(((await nobody.json()) as { error: { code: string } }).error.code, "invalid_api_key");
});

test("a key does what its grant allows: models, budgets, concurrency", async () => {
  const other = await soma("key create carol --model other");
  const refused = await failure(openai(other).chat.completions.create(ask("hi")));
  assert.equal([refused.status, refused.code], [403, "permission_denied"]);
  assert.equal((await openai(other).models.list()).data, []);
  const poor = openai(await soma("key create dave --tokens 20/day"));
  const spent = await failure(poor.chat.completions.create(ask("the quick brown fox jumps", { max_tokens: 50 })));
  assert.equal([spent.status, spent.code], [429, "insufficient_quota"]);
  assert.ok(Number(spent.headers!.get("retry-after")) >= 1);
  const single = openai(await soma("key create erin --concurrency 1"));
  const first = await single.chat.completions.create({ ...ask("the quick", { max_tokens: 8000 }), stream: true });
  const busy = await failure(single.chat.completions.create(ask("hi")));
  first.controller.abort();
  assert.equal([busy.status, busy.code, busy.headers!.get("retry-after")], [429, "rate_limit_exceeded", "1"]);
  await until("nothing runs", async () => (await queue()).length === 0);
});

test("a revoked key opens nothing any more, and ends what ran", async () => {
  const text = await soma("key create frank");
  const client = openai(text);
  await client.models.list();
  const stream = await client.chat.completions.create({ ...ask("the quick", { max_tokens: 8000 }), stream: true });
  const ended = failure(
    (async () => {
      for await (const _ of stream);
    })(),
  );
  await soma("key revoke frank");
  assert.is((await failure(client.models.list())).status, 401);
  assert.is((await ended).code, "invalid_api_key");
  await until("nothing runs", async () => (await queue()).length === 0);
  assert.match(await soma("key revoke frank", 66), /no key "frank"/);
});

test("LangChain.js works unchanged", async () => {
  const model = new ChatOpenAI({ model: "default", apiKey: key, maxTokens: 8, configuration: { baseURL } });
  const { content, usage_metadata } = await model.invoke("the fox");
  assert.is(usage_metadata!.output_tokens, 8);
  let text = "";
  for await (const piece of await model.stream("the fox")) text += piece.content;
  assert.is(text, content);
  const whole = new ChatOpenAI({ model: "default", apiKey: key, maxTokens: 60, configuration: { baseURL } });
  for (const method of ["jsonSchema", "functionCalling"] as const)
    assert.equal(Object.keys(await whole.withStructuredOutput(PERSON, { method, name: "person" }).invoke("who?")), [
      "name",
      "age",
    ]);
});

test("the Vercel AI SDK works unchanged", async () => {
  const model = createOpenAICompatible({ name: "soma", baseURL, apiKey: key, includeUsage: true })("default");
  const settings = { model, prompt: "the fox", maxOutputTokens: 8 };
  const { text, usage } = await generateText(settings);
  assert.is(usage.outputTokens, 8);
  const stream = streamText(settings);
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  assert.is(streamed, text);
  assert.is((await stream.usage).outputTokens, 8);
  const structured = createOpenAICompatible({ name: "soma", baseURL, apiKey: key, supportsStructuredOutputs: true })(
    "default",
  );
  const { object } = await generateObject({ model: structured, schema: jsonSchema(PERSON as never), prompt: "who?" });
  assert.equal(Object.keys(object as object), ["name", "age"]);
});

test("pages of other origins are not let in, and no prompt is in what the gateway prints", async () => {
  const response = await fetch(`${baseURL}/models`, {
    headers: { authorization: `Bearer ${key}`, origin: "http://page.example" },
  });
  assert.is(response.headers.get("access-control-allow-origin"), null);
  await openai().chat.completions.create(ask("a secret word"));
  await until("the request is logged", () => /POST \/v1\/chat\/completions 200/.test(printed));
  assert.not.match(printed, /secret|sk-soma-S/);
});

test.run();
