// The real programs together: lines become a data set, a model learns from it, and what belongs to others stays theirs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../../kernel/abi/errors.ts";
import type { Input } from "../../../../kernel/abi/syscalls.ts";
import { config, hyper, lines } from "../lines.ts";
import { startRunning } from "../running.ts";

let system: Awaited<ReturnType<typeof startRunning>>;
test.before(async () => {
  system = await startRunning();
});
test.after(async () => {
  await system.stop();
});

async function add(name: string, rows: readonly string[], options: Partial<Input<"model.addData">> = {}) {
  const stream = system.client.stream("model.addData", { name, minChars: 2, near: 0, ...options });
  await stream.upload([Buffer.from(`${rows.join("\n")}\n`)]);
  return stream.result;
}
const blobs = async () => (await system.client.call("memory.stat", {})).figures.blobs;

test("a data set is named by its content, and a training by name keeps to the content that it named", async () => {
  const set = await add("pairs", [...lines, lines[0]!]);
  assert.equal([set.rows, set.shards], [5, 1]);
  assert.equal((set.card as { dropped: object }).dropped, { duplicate: 1 });
  assert.is((await add("twin", lines)).hash, set.hash);
  const { job } = await system.client.call("model.train", { name: "taught", data: "data:pairs", config, hyper });
  const { end } = await system.follow(job);
  assert.is(end.state, "done", end.error);
  const { record } = await system.client.call("model.show", { model: "taught" });
  assert.equal([record.data, record.seed], [set.ref, 1]);
});

test("it is read back as lines, and goes with its blobs unless another set has them", async () => {
  const stream = system.client.stream("model.readData", { data: "pairs", limit: 2 });
  let text = "";
  for await (const { data } of stream) text += Buffer.from(data).toString();
  assert.equal(await stream.result, { rows: 2 });
  assert.equal(
    text
      .trim()
      .split("\n")
      .map((row) => JSON.parse(row).source),
    ["Hello World", "Good morning"],
  );
  const before = await blobs();
  await system.client.call("model.removeData", { data: "pairs" });
  assert.is(await blobs(), before, "twin has the same shard");
  await system.client.call("model.removeData", { data: "twin" });
  assert.is(await blobs(), Number(before) - 1);
});

test("what is no data set, or was replaced, is refused with what there is", async () => {
  const first = await add("moving", lines);
  await add("moving", lines.slice(1));
  const failure = async (data: string) => {
    const error = await system.client.call("model.train", { name: "x", data, config, hyper }).catch((thrown) => thrown);
    assert.instance(error, SomaError);
    return error as SomaError;
  };
  assert.match((await failure(first.ref)).message, /its contents were replaced/);
  assert.match((await failure("data:none")).message, /no data set "none": moving/);
  const broken = await add("bad", ["no json"]).catch((error) => error);
  assert.instance(broken, SomaError);
  assert.match(broken.message, /nothing is left of 1 lines: 1 malformed/);
});

test("what another set tests with is kept out", async () => {
  const many = Array.from({ length: 200 }, (_, i) =>
    JSON.stringify({ source: `question ${i}`, target: `answer ${i}`, task: "translate" }),
  );
  const measured = await add("measured", many);
  const { test: held } = (measured.card as { splits: { test: number } }).splits;
  assert.ok(held > 0);
  const { card } = await add("learned", many, { against: ["measured"] });
  assert.equal((card as { dropped: object }).dropped, { "held out": held });
});

test.run();
