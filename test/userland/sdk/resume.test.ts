import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import { subjects } from "../../../kernel/abi/subjects.ts";
import type { Input, Output } from "../../../kernel/abi/syscalls.ts";
import type { NatsBus } from "../../../kernel/ipc/bus.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import type { Request } from "../../../kernel/ipc/request.ts";
import { ResumableStream } from "../../../userland/sdk/resume.ts";
import { startWorld, type World } from "../../helpers/world.ts";

type Asked = { sample: { seed: number }; resume?: { ids: number[]; numerics?: string; approximate: boolean } };
type Serve = (input: Asked, request: Request, attempt: number) => Promise<Output<"model.generate">>;

let world: World;
let kernel: NatsBus;
let model: Awaited<ReturnType<World["serve"]>>;
let client: Client;
let serve: Serve;
const asked: Asked[] = [];

test.before(async () => {
  world = await startWorld();
  kernel = await world.connect("kernel");
  client = await world.client("person");
  model = await world.serve("model", {
    generate: (input, request) => {
      asked.push(input as Asked);
      return serve(input as Asked, request, asked.length);
    },
  });
});
test.before.each(() => {
  asked.length = 0;
});
test.after(() => world.stop());

const WORDS = ["one ", "two ", "three ", "four ", "five "];
/** Answers from where the caller is, as the model service does: positions count what was given. */
async function speak({ resume, sample }: Asked, request: Request, from = resume?.ids.length ?? 0, to = WORDS.length) {
  request.emit({ pos: resume?.ids.length ?? 0, ids: [], text: "", numerics: "f32" });
  for (let pos = from; pos < to; pos++) await request.emit({ pos, ids: [100 + pos], text: WORDS[pos]! });
  return end(sample.seed);
}
const end = (seed: number, text = WORDS.join("")): Output<"model.generate"> => ({
  text,
  finish: "stop",
  model: "tiny",
  version: 1,
  numerics: "f32",
  seed,
  usage: { promptTokens: 1, newTokens: 5, computedTokens: 5, cachedTokens: 0, queueMs: 0, runMs: 1 },
});
/** What a dying instance does: the kernel tells. What it says after that (the broker keeps the order) comes too late. */
async function die(): Promise<never> {
  await model.bus.flush();
  kernel.publish(subjects.down("model", "model-1", 1), new Uint8Array(0));
  await kernel.flush();
  throw new SomaError("EINVAL", "not to be seen by anyone");
}
const ask = (more: Partial<Input<"model.generate">> = {}, options: { signal?: AbortSignal; ttl?: number } = {}) =>
  new ResumableStream(client, "model.generate", { prompt: "count", ...more }, { ttl: 15_000, ...options });
const failure = (promise: Promise<unknown>): Promise<SomaError> =>
  promise.then(
    () => assert.unreachable("it should have failed"),
    (error) => error,
  );

test("a stream that breaks off in the middle goes on as one, from the ids that the caller has", async () => {
  serve = async (input, request, attempt) => {
    if (attempt > 2) return speak(input, request);
    await speak(input, request, undefined, attempt * 2);
    return die();
  };
  const stream = ask();
  const positions: number[] = [];
  let text = "";
  for await (const chunk of stream) {
    if (chunk.ids.length > 0) positions.push(chunk.pos);
    text += chunk.text;
  }
  assert.is(text, "one two three four five ");
  assert.equal(positions, [0, 1, 2, 3, 4]);
  assert.equal(
    asked.map(({ resume }) => resume?.ids),
    [undefined, [100, 101], [100, 101, 102, 103]],
  );
  assert.equal(asked[1]!.resume, { ids: [100, 101], numerics: "f32", approximate: false });
  assert.is((await stream.result).text, text);
});

test("positions that the reader has are dropped when they come again", async () => {
  serve = async (input, request, attempt) => {
    if (attempt > 1) return speak(input, request, 0);
    await speak(input, request, 0, 3);
    return die();
  };
  assert.is(await ask().text(), "one two three four five ");
});

test("a caller that resumes by itself is resumed after its own ids, and they count as positions", async () => {
  serve = async (input, request, attempt) => {
    if (attempt > 1) return speak(input, request, 1);
    await speak(input, request, undefined, 4);
    return die();
  };
  assert.is(await ask({ resume: { ids: [100, 101] } }).text(), "three four five ");
  assert.equal(asked[1]!.resume!.ids, [100, 101, 102, 103]);
});

test("what the end sets free is neither lost nor said twice", async () => {
  for (const before of [false, true]) {
    asked.length = 0;
    serve = async (input, request, attempt) => {
      await speak(input, request);
      const pos = WORDS.length;
      // Joined with the last ids, so that the reader has it before the end is there.
      if (attempt === 1 && before) await request.emit({ pos, ids: [105], text: "six" });
      if (attempt === 1) return die();
      await request.emit({ pos: input.resume!.ids.length, ids: [], text: "six" });
      return end(1, `${WORDS.join("")}six`);
    };
    assert.is(await ask().text(), "one two three four five six", String(before));
  }
});

test("a seed is chosen where sampling needs one, and stays the same", async () => {
  serve = async (input, request, attempt) => {
    if (attempt > 1) return speak(input, request);
    await speak(input, request, 0, 1);
    return die();
  };
  const stream = ask({ sample: { temperature: 0.8 } });
  await stream.text();
  const [first, second] = asked.map(({ sample }) => sample.seed);
  assert.ok(first! > 0);
  assert.is(second, first);
  assert.is((await stream.result).seed, first);
  serve = speak;
  await ask({ sample: { temperature: 0.8, seed: 7 } }).text();
  assert.is(asked.at(-1)!.sample.seed, 7, "the caller's own");
});

test("a stream that had begun waits for its model to be there again; one that had not is told", async () => {
  serve = async (input, request, attempt) => {
    if (attempt === 2 || attempt === 3)
      throw new SomaError("EAGAIN", "the model is being loaded", { executed: "no", retryAfterMs: 20 });
    await speak(input, request, undefined, attempt === 1 ? 2 : undefined);
    return attempt === 1 ? die() : end(1);
  };
  assert.is(await ask().text(), "one two three four five ");
  assert.equal(
    asked.map(({ resume }) => resume?.ids),
    [undefined, [100, 101], [100, 101], [100, 101]],
  );
  asked.length = 0;
  serve = async () => {
    throw new SomaError("EAGAIN", "the model is being loaded", { executed: "no" });
  };
  assert.is((await failure(ask().text())).code, "EAGAIN");
  assert.is(asked.length, 1);
});

test("a refusal is passed on at once and not repeated", async () => {
  serve = async () => {
    throw new SomaError("ENOENT", "no model of that name");
  };
  const stream = ask();
  const error = await failure(stream.text());
  assert.equal([error.code, error.message], ["ENOENT", "no model of that name"]);
  assert.is(await failure(stream.result), error);
  assert.is(asked.length, 1);
  serve = async () => {
    throw new SomaError("ESERVICEDOWN", "other arithmetic", { retryable: false });
  };
  assert.is((await failure(ask().text())).message, "other arithmetic");
  assert.is(asked.length, 2);
});

test("a cancel ends it at the other side too", async () => {
  let aborted = false;
  serve = async (_input, request) => {
    request.signal.addEventListener("abort", () => (aborted = true));
    await request.emit({ pos: 0, ids: [100], text: "one " });
    return new Promise(() => {});
  };
  const stream = ask();
  const error = await failure(
    (async () => {
      for await (const { ids } of stream) if (ids.length > 0) stream.cancel();
    })(),
  );
  assert.is(error.code, "ECANCELED");
  assert.ok(aborted);
  assert.is((await failure(stream.result)).code, "ECANCELED");
});

test("a cancel between two attempts starts no further one", async () => {
  const abort = new AbortController();
  let stream: ResumableStream<"model.generate">;
  for (const how of [() => stream.cancel(), () => abort.abort()]) {
    asked.length = 0;
    serve = async () => {
      setTimeout(how, 20);
      throw new SomaError("ESERVICEDOWN", "not now", { retryAfterMs: 200 });
    };
    stream = ask({}, { signal: abort.signal });
    assert.is((await failure(stream.text())).code, "ECANCELED");
    assert.is(asked.length, 1);
  }
});

test("a reader that leaves settles the result", async () => {
  serve = speak;
  const stream = ask();
  for await (const { ids } of stream) if (ids.length > 0) break;
  assert.is((await failure(stream.result)).code, "ECANCELED");
});

test("a stream can be read once", async () => {
  serve = speak;
  const stream = ask();
  await stream.text();
  assert.is((await failure(stream.text())).code, "EINVAL");
});

test("a service that stays away is given up at the deadline", async () => {
  serve = async () => {
    throw new SomaError("ESERVICEDOWN", "away");
  };
  assert.match((await failure(ask({}, { ttl: 300 }).text())).code, /ESERVICEDOWN|ETIME/);
  assert.ok(asked.length > 1);
});

test.run();
