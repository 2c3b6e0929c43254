// Owns faults under training jobs: a curve that goes on where it was, a job that is set aside, a journal that is full.
import { setTimeout as sleep } from "node:timers/promises";
import { SERVICES } from "../../kernel/abi/names.ts";
import { streamName } from "../../kernel/abi/storage.ts";
import type { Input } from "../../kernel/abi/syscalls.ts";
import { STORAGE } from "../../kernel/broker/config.ts";
import { NatsBus } from "../../kernel/ipc/bus.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { createKey } from "../../kernel/ipc/nkey.ts";
import { Authority } from "../../kernel/keys/authority.ts";
import { homeAt } from "../../kernel/launcher/home.ts";
import { until } from "../helpers/system.ts";
import { ALL_RIGHTS } from "../helpers/world.ts";
import { config, hyper, lines } from "../services/model/lines.ts";
import type { Figures } from "./figures.ts";
import { FORGIVEN_MS, type Rig } from "./rig.ts";

type Training = Input<"model.train"> & { hyper: object };

const STEPS = 100;
const EVERY = 10;
/** Without a checkpoint, and more than can be done between three kills: one that ends shows nothing. */
const POISON_STEPS = 20_000;

export async function jobs(rig: Rig, figures: Figures): Promise<void> {
  const data = await store(rig.person);
  const training = (name: string, evaluateEvery = EVERY, steps = STEPS) => ({
    name,
    data,
    config,
    hyper: { ...hyper, steps, evaluateEvery },
  });
  const row = (job: string) => rig.person.call("model.job", { job }, { ttl: 10_000 });
  const step = async (job: string) => (await row(job)).progress?.step ?? 0;
  const ended = async (job: string) => {
    await until(
      "the job has ended",
      async () => /done|fail|aside|cancel/i.test((await row(job)).state),
      rig.system,
      50,
    );
    return row(job);
  };

  // The curve: the same training, undisturbed and with every service killed in turn.
  const calm = await ended((await rig.person.call("model.train", training("calm"))).job);
  const key = "chaos-curve";
  const { job } = await rig.person.call("model.train", training("storm"), { key });
  let back = 0;
  for (const service of SERVICES) {
    const from = await step(job);
    await until(
      "it has a checkpoint more",
      async () => (await step(job)) >= Math.min(STEPS - 1, from + EVERY + 2),
      rig.system,
      20,
    );
    const { pid, epoch } = await rig.row(`${service}-1`);
    const reached = await step(job);
    process.kill(pid!, "SIGKILL");
    await rig.answering(service, epoch!);
    const now = await step(job);
    back = Math.max(back, reached - now);
    await sleep(FORGIVEN_MS / 2);
  }
  const again = await rig.person.call("model.train", training("storm"), { key });
  const storm = await ended(job);
  const part = "training, each service killed";
  figures.add(
    part,
    "finished",
    storm.state === "done" ? 100 : 0,
    "%",
    { least: 100 },
    storm.error ?? `${storm.attempts} attempts`,
  );
  figures.add(part, "steps done again at most", back, "", { most: 2 * EVERY }, `a checkpoint each ${EVERY} steps`);
  const apart = Math.abs((storm.progress?.loss ?? Number.NaN) - (calm.progress?.loss ?? Number.NaN));
  figures.add(
    part,
    "last loss apart from undisturbed, millionths",
    apart * 1e6,
    "",
    { most: 1 },
    `${calm.progress?.loss} undisturbed`,
  );
  figures.add(part, "jobs for one key", new Set([job, again.job]).size, "", { most: 1 });
  const { models } = await rig.person.call("model.list", {});
  figures.add(part, "models made", models.filter(({ name }) => name === "storm").length, "", { most: 1 });

  await poison(rig, figures, training("poison", POISON_STEPS, POISON_STEPS), training("after", EVERY, 20), ended, step);
  await full(rig, figures, training("refused"));
}

/** One whose worker dies three times without a checkpoint in between would kill the next, too: it is set aside, and others go on. */
async function poison(
  rig: Rig,
  figures: Figures,
  bad: Training,
  good: Training,
  ended: (job: string) => Promise<{ state: string; error?: string }>,
  step: (job: string) => Promise<number>,
): Promise<void> {
  const job = await submit(rig.person, bad);
  const after = await submit(rig.person, good);
  for (let crash = 1; crash <= 3; crash++) {
    // The row still tells the step of the run before. Killed before it has begun the next, a worker has not died of this job.
    const before = await step(job);
    await until("it trains", async () => (await step(job)) !== before, rig.system, 20);
    const { pid, epoch } = await rig.row("device-1");
    process.kill(pid!, "SIGKILL");
    await rig.answering("device", epoch!);
    await sleep(FORGIVEN_MS / 2);
  }
  const { state, error } = await ended(job);
  const part = "a job that kills its worker";
  figures.add(
    part,
    "set aside with its error",
    /aside/i.test(state) && error !== undefined ? 100 : 0,
    "%",
    { least: 100 },
    `${state}: ${error}`,
  );
  figures.add(part, "the next one finished", (await ended(after)).state === "done" ? 100 : 0, "%", { least: 100 });
}

/** Nothing is acknowledged that the journal did not take; what needs no journal goes on. */
async function full(rig: Rig, figures: Figures, training: Training): Promise<void> {
  const bus = await root(rig);
  const jsm = await bus.nc.jetstreamManager();
  const { config: journal, state } = await jsm.streams.info(streamName("journal"));
  await jsm.streams.update(streamName("journal"), { ...journal, max_bytes: Math.max(1, state.bytes) });
  const refusal = await rig.person.call("model.train", training).then(
    () => ({ code: "none", message: "it was accepted" }),
    (error: { code: string; message: string }) => error,
  );
  const works = await rig.apps[0]!.client.call("memory.put", { key: "while-full", value: 1 }).then(
    () => 100,
    () => 0,
  );
  await jsm.streams.update(streamName("journal"), journal);
  await bus.close();
  const after = await submit(rig.person, { ...training, hyper: { ...training.hyper, steps: 2 } });
  figures.add(
    "journal full",
    "submit is refused",
    refusal.code === "EDQUOT" ? 100 : 0,
    "%",
    { least: 100 },
    `${refusal.code}: ${refusal.message}`,
  );
  figures.add("journal full", "call goes on", works, "%", { least: 100 });
  figures.add("journal full", "submit again once there is room", after === "" ? 0 : 100, "%", { least: 100 });
}

async function submit(client: Client, input: Training): Promise<string> {
  return (await client.call("model.train", input)).job;
}

export async function store(client: Client): Promise<string> {
  const bytes = Buffer.from(`${lines.join("\n")}\n`);
  const stream = client.stream("memory.write", { size: bytes.length });
  await stream.upload([bytes]);
  return (await stream.result).blob;
}

/** A connection with all rights: the test owns the home, and so the root of trust. */
async function root(rig: Rig): Promise<NatsBus> {
  const authority = new Authority(homeAt(rig.system.home).keys, { storage: STORAGE });
  const key = createKey("user");
  const permissions = { pub: { allow: ALL_RIGHTS.pub }, sub: { allow: ALL_RIGHTS.sub } };
  const jwt = authority.mintActor({ name: "kernel", publicKey: key.publicKey, permissions });
  return NatsBus.connect({ url: rig.url, name: "kernel", jwt: () => jwt, seed: key.seed });
}
