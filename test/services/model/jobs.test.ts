import { test } from "uvu";
import * as assert from "uvu/assert";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { TrainInput } from "../../../services/model/hyper.ts";
import type { Job } from "../../../services/model/job.ts";
import { Jobs } from "../../../services/model/jobs.ts";
import { MapBucket } from "./bucket.ts";

const input: TrainInput = { name: "mine", architecture: "llama", data: "builtin", config: {}, hyper: {}, seed: 1 };
const alice = { principal: "alice" };

async function open(bucket = new MapBucket<any>(), journal: { value: unknown }[] = []) {
  const order: string[] = [];
  const clock = { now: 1_000 };
  const put = bucket.put.bind(bucket);
  bucket.put = async (key, value) => {
    const revision = await put(key, value);
    order.push(`stored ${value.state}`);
    return revision;
  };
  const jobs = await Jobs.open(
    {
      bucket,
      append: async (subject, value) => {
        order.push(`journalled ${subject.split(".").slice(0, 2).join(".")}`);
        journal.push({ value: structuredClone(value) });
      },
      now: () => clock.now,
      crash: (error) => {
        throw error;
      },
    },
    (async function* () {
      yield* [...journal];
    })(),
  );
  return { jobs, bucket, journal, order, clock };
}
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

test("a job is journalled, then stored, and only then accepted", async () => {
  const { jobs, order } = await open();
  await jobs.submit(input, alice, "k").then(() => order.push("accepted"));
  assert.equal(order, ["journalled job.submit", "stored queued", "accepted"]);
});

test("the same key of the same caller is the same job; another caller's is another", async () => {
  const { jobs, journal } = await open();
  const first = await jobs.submit(input, alice, "k");
  const second = await jobs.submit(input, alice, "k");
  assert.is(second.id, first.id);
  assert.is(second.job, undefined);
  assert.is(journal.length, 1);
  assert.is.not((await jobs.submit(input, { principal: "bob" }, "k")).id, first.id);
});

test("the same key at the same time begins one job", async () => {
  const { jobs } = await open();
  const both = await Promise.all([jobs.submit(input, alice, "k"), jobs.submit(input, alice, "k")]);
  assert.is(both.filter(({ job }) => job !== undefined).length, 1);
});

test("a job that ended without a model may be asked for again under its key; one that is done is not", async () => {
  const { jobs, clock } = await open();
  const { id, job } = await jobs.submit(input, alice, "k");
  jobs.save(job!, "failed");
  clock.now = 2_000;
  const again = await jobs.submit(input, alice, "k");
  assert.is(again.id, id);
  assert.is(again.job?.submittedAt, 2_000);
  jobs.save({ ...again.job!, version: 1 }, "done");
  assert.is((await jobs.submit(input, alice, "k")).job, undefined);
});

test("what was journalled but not stored is there after a restart, once", async () => {
  const { jobs, journal } = await open();
  await jobs.submit(input, alice, "k");
  const { jobs: next, bucket } = await open(new MapBucket(), journal);
  assert.equal(
    next.unfinished().map(({ owner, crashes }) => [owner.principal, crashes]),
    [["alice", 0]],
  );
  await settle();
  const { jobs: third } = await open(bucket, journal);
  assert.is(third.unfinished().length, 1);
});

test("a job that was cut off in its work counts a crash; one that waited or was suspended does not", async () => {
  const { jobs, bucket } = await open();
  const names = ["queued", "waiting", "training"];
  const made: Job[] = [];
  for (const name of names) made.push((await jobs.submit(input, alice, name)).job!);
  for (const [i, name] of names.entries()) jobs.save(made[i]!, name);
  await settle();
  const crashes = (opened: Jobs) => made.map(({ id }) => opened.unfinished().find((job) => job.id === id)?.crashes);
  assert.equal(crashes((await open(bucket)).jobs), [0, 0, 1]);
  await jobs.suspend();
  assert.equal(crashes((await open(bucket)).jobs), [0, 0, 0]);
});

test("a row that is stored late is the newest one, and no broker that is away loses it", async () => {
  const { jobs, bucket } = await open();
  const { job } = await jobs.submit(input, alice, "k");
  bucket.failure = new SomaError("EIO", "the broker is away");
  jobs.save({ ...job!, attempts: 1 }, "preparing");
  for (let attempts = 2; attempts <= 9; attempts++) jobs.save({ ...job!, attempts }, "training");
  await jobs.suspend();
  const [stored] = await bucket.entries();
  assert.is(stored!.value.job.attempts, 9);
});

test("an app sees its own jobs only, a person all", async () => {
  const { jobs } = await open();
  const { id } = await jobs.submit(input, alice, "k");
  assert.is(jobs.find(id, "alice").owner, "alice");
  assert.is(jobs.find(id, "person").id, id);
  assert.throws(() => jobs.find(id, "bob"), /no job/);
  assert.equal([jobs.list("bob").length, jobs.list("person").length], [0, 1]);
});

test("a follower gets each row in order and the last one as the end", async () => {
  const { jobs } = await open();
  const { id, job } = await jobs.submit(input, alice, "k");
  const seen: string[] = [];
  const end = jobs.follow(id, new AbortController().signal, async ({ state }) => {
    seen.push(state);
    await settle();
  });
  for (const state of ["preparing", "training", "evaluating", "registering"]) jobs.save(job!, state);
  jobs.save({ ...job!, version: 4 }, "done");
  assert.is((await end).model, "mine@4");
  assert.equal(seen, ["queued", "preparing", "training", "evaluating", "registering", "done"]);
  // Who comes when it is over hears the end at once.
  assert.is((await jobs.follow(id, new AbortController().signal, async () => {})).state, "done");
});

test("a follower ends when it is canceled or the service stops", async () => {
  const { jobs } = await open();
  const { id } = await jobs.submit(input, alice, "k");
  const abort = new AbortController();
  const canceled = jobs.follow(id, abort.signal, async () => {}).catch((error: SomaError) => error.code);
  await settle();
  abort.abort();
  assert.is(await canceled, "ECANCELED");
  const stopped = jobs.follow(id, new AbortController().signal, async () => {}).catch((error: SomaError) => error.code);
  await settle();
  jobs.close();
  assert.is(await stopped, "ESERVICEDOWN");
});

test("jobs that ended long ago are forgotten at a start", async () => {
  const { jobs, bucket } = await open();
  const { job } = await jobs.submit(input, alice, "k");
  jobs.save(job!, "failed");
  await settle();
  const later = bucket.entriesOf.get(job!.id)!;
  later.value.updatedAt -= 40 * 24 * 3600_000;
  assert.is((await open(bucket)).jobs.list("person").length, 0);
});

test.run();
