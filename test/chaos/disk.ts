// Owns a disk that is really full: what must be stored is refused in words, what needs no store goes on, and so does all once there is room.
import { setTimeout as sleep } from "node:timers/promises";
import { SomaError } from "../../kernel/abi/errors.ts";
import { SmallDisk } from "../helpers/disk.ts";
import { until } from "../helpers/system.ts";
import { config, hyper } from "../services/model/lines.ts";
import { type Figures, load } from "./figures.ts";
import { store } from "./jobs.ts";
import { Rig } from "./rig.ts";

const DISK_MB = 64;
const SUBMITS = 20;
/** A submission that found a last bit of room, but none for what follows, is in doubt after this, ms. */
const TTL = 1_000;
const ROUNDS = 20;
/** Long enough for whoever tries again without waiting for room to give up: kept.ts. */
const AWAY_MS = 5_000;
const GOES_ON_MS = 5_000;

export async function diskFull(figures: Figures): Promise<void> {
  const disk = SmallDisk.make(DISK_MB);
  if ("lacking" in disk) return console.log(`SKIPPED a disk that is full: ${disk.lacking}`);
  const rig = await Rig.start(disk.path);
  try {
    await whileFull(rig, disk, figures);
  } finally {
    await rig.stop();
    disk.remove();
  }
}

async function whileFull(rig: Rig, disk: SmallDisk, figures: Figures): Promise<void> {
  const part = "disk full";
  const { client } = rig.apps[0]!;
  const data = await store(rig.person);
  const submit = (name: string, ttl: number) => {
    const input = { name, data, config, hyper: { ...hyper, steps: 2 } };
    return rig.person.call("model.train", input, { ttl, key: name, retry: false }).then(
      ({ job }) => ({ job, name, code: "OK", message: "", executed: "yes" }),
      (error: unknown) => {
        if (!(error instanceof SomaError)) throw error;
        return { job: undefined, name, code: error.code, message: error.message, executed: error.executed };
      },
    );
  };
  const { revision } = await client.call("memory.put", { key: "kept", value: 1 });
  const before = await submit("before", 10_000);
  disk.fill();

  const answers: Awaited<ReturnType<typeof submit>>[] = [];
  const took: number[] = [];
  for (let n = 0; n < SUBMITS; n++) {
    const asked = performance.now();
    const answer = await submit(`full-${n}`, TTL);
    if (answer.executed === "no") took.push(performance.now() - asked);
    answers.push(answer);
  }
  // A last bit of room may be left in a file for one or two; what has found too little of it is in doubt.
  const ended = (as: string) => answers.filter(({ executed }) => executed === as);
  const [accepted, refused, doubted] = [ended("yes"), ended("no"), ended("maybe")];
  const clear = refused.filter(({ code, message }) => code === "EIO" && /is full: make room/.test(message));
  const said = `${accepted.length} accepted, ${doubted.length} in doubt; EIO: ${clear.at(-1)?.message}`;
  figures.add(part, `submits refused, of ${SUBMITS}`, clear.length, "", { least: SUBMITS / 2 }, said);
  figures.add(part, "refusals that do not say why", refused.length - clear.length, "", { most: 0 });
  figures.times(part, "refused after", took);

  // A kernel has to write before it can begin its work.
  const rows = await rig.rows();
  const pidOf = (name: string) => rows.find(({ id }) => id === name)!.pid!;
  process.kill(pidOf("kernel"), "SIGKILL");
  const failed: string[] = [];
  const goingOn = async (what: string, call: () => Promise<unknown>) => {
    await call().catch((error: unknown) => {
      if (!(error instanceof SomaError)) throw error;
      failed.push(`${what}: ${error.code} ${error.message}`);
    });
  };
  for (let n = 0; n < ROUNDS; n++) {
    const ask = { model: "fox", prompt: "the quick", maxTokens: 16, sample: { temperature: 1, seed: n } };
    await goingOn("generate", () => client.stream("model.generate", ask).result);
    await goingOn("tokenize", () => client.call("model.tokenize", { model: "fox", text: "the quick" }));
    await goingOn("whoami", () => client.call("auth.whoami", {}));
    await goingOn("memory.get", () => client.call("memory.get", { key: "kept" }));
    await sleep(100);
  }
  figures.add(
    part,
    "calls that failed",
    failed.length,
    "",
    { most: 0 },
    `of ${4 * ROUNDS}, load average ${load()}; ${failed[0] ?? ""}`,
  );

  // Without room nothing that died can begin again, and nobody gives up for it.
  process.kill(pidOf("broker"), "SIGKILL");
  await sleep(AWAY_MS);
  disk.clear();
  const roomy = performance.now();
  let after = await submit("after", 10_000);
  for (; after.job === undefined && performance.now() < roomy + 30_000; after = await submit("after", 10_000))
    await sleep(20);
  figures.add(part, "submit again once there is room", performance.now() - roomy, "ms", { most: GOES_ON_MS });
  await until(
    "a new kernel has adopted all",
    async () => (await rig.rows(400)).some(({ id, pid }) => id === "kernel" && pid !== pidOf("kernel")),
    rig.system,
  );
  await until("the app is back", () => client.bus.connected, rig.system);
  await client.call("memory.put", { key: "kept", value: 2, revision });
  const taken = [before, ...accepted, after];
  await until(
    "all of them have ended",
    async () => {
      const rows = (await rig.person.call("model.jobs", {})).jobs;
      return rows.length >= taken.length && rows.every(({ state }) => state === "done");
    },
    rig.system,
    100,
  );
  const { models } = await rig.person.call("model.list", {});
  const made = ({ name }: { name: string }) => models.filter((model) => model.name === name).length;
  const lost = taken.filter((answer) => made(answer) === 0).length;
  figures.add(part, "accepted work lost", lost, "", { most: 0 }, `of ${taken.length}`);
  const doubled = taken.filter((answer) => made(answer) > 1).length;
  const undone = refused.filter((answer) => made(answer) > 0).length;
  figures.add(part, "work done twice, or though it was refused", doubled + undone, "", { most: 0 });
  const downs = rig.downs.filter(({ instance }) => instance !== "kernel");
  // More than the one at a time that may be taken for hanging (leases.ts) would be a mass kill.
  figures.add(
    part,
    "services that went down",
    downs.length,
    "",
    { most: 1 },
    downs.map(({ instance, reason }) => `${instance} ${reason}`).join("; "),
  );
}
