// Owns the steps of a training job: what its machine invokes. Each may be run again after a crash and finds what was done.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import { ALL } from "../../kernel/abi/subjects.ts";
import type { Client } from "../../kernel/ipc/client.ts";
import { loadBlob, readBlob, storeBlob } from "./blobs.ts";
import { builtinCorpus } from "./builtin/corpus.ts";
import { builtinRecipe } from "./builtin/recipe.ts";
import { type Catalog, readExamplesFile } from "./catalog.ts";
import type { Sets } from "./data/sets.ts";
import { schedulerEngine } from "./engine.ts";
import { evaluate } from "./evaluate.ts";
import { digest, readJson, receive, WEIGHTS, writeFiles } from "./folders.ts";
import type { Job, Prepared, Progress } from "./job.ts";
import { type Preparation, prepareVectors, userRecipe } from "./prepare.ts";
import { prepareTextAside } from "./preparing.ts";
import { type Evaluation, thin } from "./record.ts";
import { type Example, readExamples } from "./text/records.ts";
import { decodeText } from "./text/utf8.ts";
import { readTextModel } from "./textmodel.ts";

/** Each split is measured on so many examples at most. */
const CASES = 500;
/** Replicas of a run: beyond these, batches of small models fall apart into too little work. */
const WORKERS = 4;

export class Training {
  constructor(
    private readonly client: Client,
    private readonly catalog: Catalog,
    private readonly sets: Sets,
  ) {}

  /** Reads the data, learns the tokenizer, stages the model's files, stores the dataset for the device. */
  async prepare(job: Job, signal: AbortSignal): Promise<Prepared> {
    const made = await this.preparation(job, signal);
    const staged = await this.staged(job);
    await writeFiles(staged, made.files);
    const { spec, dataHash, note, templates, stopIds, dataset } = made;
    const data = await storeBlob(this.client, [dataset], dataset.length, { ...onBehalf(job), signal });
    return { data, dataHash, spec, note, ...(templates ? { templates } : {}), ...(stopIds ? { stopIds } : {}) };
  }

  private async preparation({ input, owner }: Job, signal: AbortSignal): Promise<Preparation> {
    const { client } = this;
    const options = { for: owner, signal };
    if (input.architecture === "mlp") {
      return prepareVectors(input.data === "random" ? undefined : await loadBlob(client, input.data, options), input);
    }
    const base = builtinRecipe();
    const corpus = input.data === "builtin" ? builtinCorpus() : await collect(this.examples(input.data, owner, signal));
    const recipe =
      input.data === "builtin"
        ? { ...base, config: { ...base.config, ...input.config } }
        : userRecipe(base, corpus, input);
    return prepareTextAside(recipe, corpus, input, signal);
  }

  /** Of a data set, or of a blob of lines. */
  private examples(data: string, owner: Principal, signal: AbortSignal): AsyncGenerator<Example> {
    return data.startsWith("blob:")
      ? readExamples(decodeText(readBlob(this.client, data, { for: owner, signal }), "data"), "data")
      : this.sets.examples(this.sets.find(data, owner.principal), undefined, signal);
  }

  /** Trains on a device; tells the request's id, progress and checkpoints, then the result. */
  async train(
    job: Job,
    signal: AbortSignal,
    tell: { asked: (id: string) => void; progress: (progress: Progress) => void },
  ) {
    const { client } = this;
    const { prepared, checkpoint, request, input } = job;
    if (prepared === undefined) throw new Error(`job ${job.id} trains before it is prepared`);
    // A run that this service lost when it went down itself may be going on for nobody.
    if (request !== undefined) await this.cancelRun(request);
    const { cores } = await client.call("device.list", {}, { signal, ttl: 30_000 });
    const batch = Number(prepared.spec.batch);
    const workers = input.architecture === "mlp" ? 1 : Math.max(1, Math.min(cores, WORKERS, batch));
    const stream = client.stream(
      "device.train",
      { job: job.id, spec: prepared.spec, data: prepared.data, workers, ...(checkpoint ? { checkpoint } : {}) },
      { ...onBehalf(job), signal, key: job.id },
    );
    tell.asked(stream.id);
    for await (const progress of stream) tell.progress(progress);
    return await stream.result;
  }

  private async cancelRun(id: string): Promise<void> {
    try {
      await this.client.call("device.cancel", { id }, { instance: ALL, retry: false });
    } catch (error) {
      // No device is there: so nothing runs there either.
      if (!(error instanceof SomaError)) throw error;
    }
  }

  /** Fetches the weights and measures them on what was held out, and on what was to be memorised. Nothing for vectors. */
  async evaluate(job: Job, signal: AbortSignal): Promise<Record<string, Evaluation>> {
    const staged = await this.staged(job);
    await this.fetchWeights(job, staged, signal);
    const { templates, stopIds = [] } = job.prepared ?? {};
    if (templates === undefined) return {};
    const { residents } = this.catalog.options;
    const text = readTextModel(staged, templates, stopIds);
    const config = readJson(staged, "config.json");
    const id = `staged-${job.id}`;
    const wanted = { dir: staged, config, dtype: "f32" as const, ...(await digest(join(staged, WEIGHTS))) };
    await residents.need(id, wanted, job.id);
    try {
      const engine = schedulerEngine(this.client, id, { ...onBehalf(job), signal });
      const kept = readExamplesFile(join(staged, "examples.jsonl"));
      const results: Record<string, Evaluation> = {};
      for (const split of ["test", "handwritten"] as const) {
        const examples = kept.filter((example) => example.split === split).slice(0, CASES);
        if (examples.length === 0) continue;
        const { samples: _, ...figures } = await evaluate(text, examples, engine);
        results[split] = figures;
      }
      return results;
    } finally {
      residents.release(id, job.id);
      residents.retire(id);
    }
  }

  /** Gives the model its version; returns it. A job that was registered before finds its record. */
  async register(job: Job, signal: AbortSignal): Promise<number> {
    const known = this.catalog.options.registry.all().find((record) => record.job === job.id);
    if (known) return known.version;
    const { prepared, input, trained } = job;
    if (prepared === undefined || trained === undefined)
      throw new Error(`job ${job.id} registers before it is trained`);
    const staged = await this.staged(job);
    await this.fetchWeights(job, staged, signal);
    const { config: _, architecture: __, ...hyper } = prepared.spec;
    const { version } = await this.catalog.register(staged, {
      name: input.name,
      architecture: input.architecture,
      config: readJson(staged, "config.json"),
      ...(prepared.templates ? { templates: prepared.templates } : {}),
      ...(prepared.stopIds ? { stopIds: prepared.stopIds } : {}),
      dataHash: prepared.dataHash,
      ...(input.data.startsWith("data:") ? { data: input.data } : {}),
      hyper: { ...hyper, stopped: trained.stopped, trainedSteps: trained.steps },
      seed: input.seed,
      curve: thin(job.curve),
      eval: job.eval ?? {},
      job: job.id,
      note: prepared.note,
    });
    return version;
  }

  async deploy({ input, version }: Job): Promise<void> {
    const { registry } = this.catalog.options;
    await this.catalog.deploy(registry.find(`${input.name}@${version}`), input.deploy ?? input.name);
  }

  /** What only an unfinished job needs: its folder and blobs. The checkpoint of a job that failed stays. */
  async clean(job: Job): Promise<void> {
    const { folders } = this.catalog.options;
    await folders.remove(folders.staging(job.id));
    const done = job.version !== undefined;
    await this.drop([job.prepared?.data, ...(done ? [job.checkpoint, job.trained?.weights] : [])], job.owner);
  }

  /** Gives blobs back. */
  async drop(blobs: readonly (string | undefined)[], owner: Principal): Promise<void> {
    for (const blob of new Set(blobs)) {
      if (blob === undefined) continue;
      try {
        await this.client.call("memory.drop", { blob }, { for: owner });
      } catch (error) {
        // Memory is away: the space is all that is lost.
        if (!(error instanceof SomaError)) throw error;
      }
    }
  }

  private staged(job: Job): Promise<string> {
    return this.catalog.options.folders.stage(job.id);
  }

  private async fetchWeights({ trained, owner }: Job, staged: string, signal: AbortSignal): Promise<void> {
    if (trained === undefined) throw new Error("there are no weights before training");
    const path = join(staged, WEIGHTS);
    if (existsSync(path) && statSync(path).size === trained.bytes) return;
    await receive(path, readBlob(this.client, trained.weights, { for: owner, signal }));
  }
}

function onBehalf({ owner, trace }: Job): { for: Principal; traceparent?: string } {
  return { for: owner, ...(trace ? { traceparent: trace } : {}) };
}

async function collect(examples: AsyncIterable<Example>): Promise<Example[]> {
  const all: Example[] = [];
  for await (const example of examples) all.push(example);
  return all;
}
