// Owns the table from the model service's calls to its machine's events; what needs no actor is answered directly.
import { SomaError } from "../../kernel/abi/errors.ts";
import { PERSON, roleOf } from "../../kernel/abi/names.ts";
import type { Request } from "../../kernel/ipc/request.ts";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import type { Catalog } from "./catalog.ts";
import { dataCalls } from "./data/calls.ts";
import { refOf, type Sets } from "./data/sets.ts";
import { checkName } from "./folders.ts";
import { parseRepo } from "./hub/listing.ts";
import type { PullProgress } from "./hub/pull.ts";
import { readHyper, type TrainInput } from "./hyper.ts";
import type { Job } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { Requests, RunCall } from "./requests.ts";
import { type Rolling, rolloutCalls } from "./rollout/calls.ts";

export interface Model {
  catalog: Catalog;
  sets: Sets;
  rolling: Rolling;
  requests: Requests;
  jobs: Jobs;
  /** Begins the actor of a request or a job; ends it. */
  begin: (mid: string, call: RunCall) => void;
  cancel: (mid: string) => void;
  beginJob: (job: Job) => void;
  /** Fetches a repository from the hub; where it then lies. */
  pull: (
    repo: string,
    file: string | undefined,
    signal: AbortSignal,
    progress: (progress: PullProgress) => void,
  ) => Promise<string>;
  stopJob: (id: string) => void;
}

const askerOf = ({ principal }: Request) => principal.principal;

export function calls(model: Model): Handlers<"model"> {
  const { catalog, sets, requests, jobs } = model;
  const { registry, texts } = catalog.options;
  const run = (call: RunCall) => (input: never, request: Request) => {
    requests.open(call, input, request);
    request.signal.addEventListener("abort", () => model.cancel(request.mid), { once: true });
    model.begin(request.mid, call);
    return DEFER;
  };
  return {
    ...dataCalls(model),
    ...rolloutCalls(model.rolling, registry),
    generate: run("generate") as never,
    translate: run("translate") as never,
    score: run("score") as never,
    classify: run("classify") as never,
    embed: run("embed") as never,
    evaluate: run("evaluate") as never,
    tokenize: ({ model: ref, text }) => {
      const { tokenizer } = texts.of(registry.find(ref).record);
      const ids = tokenizer.encode(text);
      return { ids, pieces: ids.map((id) => tokenizer.decode([id], { specials: true })) };
    },
    list: () => ({ models: catalog.list() }),
    show: ({ model: ref }) => catalog.row(registry.find(ref).record),
    train: async (input, request) => {
      checkTraining(input, request);
      if (roleOf(askerOf(request)) === "app") checkOwned(input.name, askerOf(request), model);
      // The content of now, whatever the name means when the job begins.
      const data = input.data.startsWith("data:") ? refOf(sets.find(input.data, askerOf(request))) : input.data;
      const { id, job } = await jobs.submit({ ...input, data }, request.principal, request.key, request.traceparent);
      if (job) model.beginJob(job);
      return { job: id };
    },
    job: ({ job }, request) => ({ ...jobs.find(job, askerOf(request)), curve: jobs.curve(job) }),
    jobs: (_, request) => ({ jobs: jobs.list(askerOf(request)) }),
    follow: ({ job }, request) => {
      jobs.find(job, askerOf(request));
      return jobs.follow(job, request.signal, (row) => request.emit(row));
    },
    stop: ({ job }, request) => {
      jobs.find(job, askerOf(request));
      model.stopJob(job);
      return jobs.find(job, askerOf(request));
    },
    // The right itself says that the caller may see what is not its own: asked as the person.
    allJobs: ({ curve }) => ({
      jobs: jobs.list(PERSON),
      curve: curve === undefined ? [] : jobs.curve(jobs.find(curve, PERSON).id),
    }),
    deploy: async ({ model: ref, alias, dtype }) => {
      const found = registry.find(ref);
      const { previous } = await catalog.deploy(found, alias, dtype);
      return { alias, model: found.record.name, version: found.record.version, previous };
    },
    importDir: async ({ dir, name }) => catalog.row(await catalog.importDir(dir, name)),
    pull: async ({ repo, name, file }, request) => {
      const as = checkName(name ?? parseRepo(repo).repo.split("/")[1]!);
      const dir = await model.pull(repo, file, request.signal, (progress) => {
        // A slow reader misses some figures.
        if (!request.congested) void request.emit(progress);
      });
      return catalog.row(await catalog.importDir(dir, as, `hf:${repo}`));
    },
    export: async ({ model: ref, dir }) => ({ files: await catalog.export(registry.find(ref).record, dir) }),
    remove: async ({ model: ref }) => {
      if (!ref.includes("@")) throw new SomaError("EINVAL", `say which version: ${registry.find(ref).record.name}@<n>`);
      await catalog.remove(registry.find(ref).record);
      return {};
    },
  };
}

/** Who names a model without a version gets its newest: what others may use is not for an app to replace. */
function checkOwned(name: string, app: string, { catalog, jobs }: Model): void {
  const own = new Set(jobs.list(app).map(({ id }) => id));
  const foreign = catalog.options.registry.all().some((record) => record.name === name && !own.has(record.job ?? ""));
  if (foreign) throw new SomaError("EPERM", `the model "${name}" is not ${app}'s: train it under a name of its own`);
}

/** What can be seen before a job is accepted: the rest is found by its first step, and fails the job. */
function checkTraining({ name, architecture, data, hyper, deploy, seed }: TrainInput, request: Request): void {
  checkName(name);
  readHyper(hyper);
  if (deploy !== undefined) {
    checkName(deploy);
    // An alias decides what others get: not for an app to move.
    if (roleOf(askerOf(request)) === "app") {
      throw new SomaError(
        "EPERM",
        `an app may train but lacks the right model.deploy, which is a person's: leave deploy out, and have a person run "soma model deploy ${name} --alias ${deploy}"`,
      );
    }
  }
  if (data === "builtin" && architecture !== "llama")
    throw new SomaError("EINVAL", 'data "builtin" is text: use architecture llama');
  if (data === "random" && architecture !== "mlp")
    throw new SomaError("EINVAL", 'data "random" is vectors: use architecture mlp');
  if (data.startsWith("data:") && architecture !== "llama")
    throw new SomaError("EINVAL", `${data} is text: use architecture llama`);
  if (seed > 0xffffffff) throw new SomaError("EINVAL", `seed ${seed} is too large: use 0 to 4294967295`);
}
