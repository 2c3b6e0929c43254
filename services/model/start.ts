// Owns the wiring of the model service: registry, residents, requests, jobs, and the machine over them.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createActor } from "xstate";
import type { Context, Running } from "../../kernel/ipc/service.ts";
import { append, Kv, readStream } from "../../kernel/ipc/store.ts";
import { calls } from "./calls.ts";
import { Catalog } from "./catalog.ts";
import { Sets } from "./data/sets.ts";
import { modelLogic, residentLogic, watchDevices } from "./effects.ts";
import { Folders } from "./folders.ts";
import { pull } from "./hub/pull.ts";
import type { Job } from "./job.ts";
import { Jobs } from "./jobs.ts";
import { jobId, requestId } from "./machine.ts";
import { versionText } from "./record.ts";
import { Registry } from "./registry.ts";
import { Requests } from "./requests.ts";
import { Residents } from "./residents.ts";
import { Gate } from "./rollout/gate.ts";
import { Rollouts } from "./rollout/rollouts.ts";
import { TextModels } from "./textmodel.ts";
import { Training } from "./training.ts";

export interface ModelOptions {
  /** $SOMA_HOME; models lie below it. */
  home?: string;
  /** Version of Soma, for records. */
  code: string;
  hub: { endpoint: string; token?: string };
}

/** A file may be cut off so often without a byte more, with so long a pause. */
const HUB_TRIES = { tries: 5, pauseMs: 2000 };

type Needs = Pick<Context, "bus" | "client" | "server" | "recorder" | "log" | "metrics" | "crash">;

/** Reads what is stored, takes up the jobs that were not finished, and serves. */
export async function startModel(ctx: Needs, { home, code, hub }: ModelOptions): Promise<Running<"model">> {
  const { bus, client, recorder, log, metrics, crash } = ctx;
  const folders = new Folders(home);
  const registry = await Registry.open(await Kv.open(bus, "models"));
  const texts = new TextModels((record) => folders.of(record));
  const aliased = (id: string) => catalog.aliased(id);
  const resident = residentLogic(ctx, () => residents, aliased);
  const residents = new Residents((id) => {
    const actor = createActor(resident, { id: `resident.${id}`, input: { id }, inspect: recorder.inspect });
    actor.subscribe({ error: crash });
    return actor.start();
  }, aliased);
  const catalog: Catalog = new Catalog({ registry, folders, texts, residents, code, now: Date.now });
  for (const record of registry.all()) {
    if (catalog.missing(record)) log.warn({ model: versionText(record) }, "its files are missing");
  }
  const rollouts = new Rollouts(catalog, ({ alias, last }) => log.warn({ alias, ...last }, "a canary ended"), crash);
  const requests = new Requests({ client, catalog, rollouts, metrics });
  const sets = await Sets.open(await Kv.open(bus, "datasets"), client, Date.now);
  const training = new Training(client, catalog, sets);
  const jobs = await Jobs.open(
    {
      bucket: await Kv.open(bus, "jobs"),
      append: (subject, value, dedupe) => append(bus, subject, value, dedupe),
      now: Date.now,
      crash,
    },
    readStream(bus, "journal", {}),
  );
  const model = createActor(modelLogic({ ctx, requests, jobs, training }), {
    id: "model",
    inspect: recorder.inspect,
  });
  model.subscribe({ error: crash });
  model.start();
  metrics.read("soma_jobs", () => Object.entries(jobs.counts()).map(([state, count]) => [{ state }, count]));
  const child = (id: string) =>
    model.getSnapshot().children[id] as { send: (event: { type: "cancel" | "stop" }) => void } | undefined;

  const unfinished = jobs.unfinished().map((job) => asStaged(job, folders));
  await folders.sweep(new Set(unfinished.map(({ id }) => id)));
  for (const job of unfinished) model.send({ type: "job", job });
  watchDevices(bus, residents);
  // Who follows a job would otherwise hold up the stop of the whole service.
  process.once("SIGTERM", () => jobs.close());

  return {
    handlers: calls({
      catalog,
      sets,
      rolling: { rollouts, gate: new Gate(client, catalog, sets) },
      requests,
      jobs,
      begin: (mid, call) => model.send({ type: "request", mid, call }),
      cancel: (mid) => child(requestId(mid))?.send({ type: "cancel" }),
      pull: (repo, file, signal, progress) =>
        pull({ ...hub, ...HUB_TRIES, signal }, join(folders.root, "..", "cache", "hub"), repo, file, progress),
      beginJob: (job) => model.send({ type: "job", job }),
      stopJob: (id) => child(jobId(id))?.send({ type: "stop" }),
    }),
    state: () => model.getSnapshot().value,
    figures: () => ({
      models: registry.all().length,
      residents: residents.states(),
      requests: requests.size,
      jobs: jobs.counts(),
    }),
    stop: async () => {
      const suspended = jobs.suspend();
      model.stop();
      await suspended;
    },
  };
}

/** A job whose staged folder is gone is prepared again: the same data gives the same files. */
function asStaged(job: Job, folders: Folders): Job {
  if (existsSync(join(folders.staging(job.id), "config.json"))) return job;
  const { prepared: _, ...rest } = job;
  return rest;
}
