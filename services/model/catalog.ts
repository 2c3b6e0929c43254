// Owns what is done to models as a whole: register, import, export, deploy, remove; and how a version is shown.
import { existsSync, readFileSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Output } from "../../kernel/abi/syscalls.ts";
import { checkName, copyModel, digest, FILES, type Folders, readJson, WEIGHTS, writeFiles } from "./folders.ts";
import type { KeptExample } from "./prepare.ts";
import { type ModelRecord, versionText } from "./record.ts";
import type { Found, Registry } from "./registry.ts";
import { type Residents, residentId, type Wanted } from "./residents.ts";
import { elements, readHeader } from "./safetensors.ts";
import { writeSpelling } from "./text/spelling.ts";
import { loadTokenizer } from "./text/tokenizer.ts";
import { readTemplates, type TextModels } from "./textmodel.ts";
import { convertGguf } from "./weights/convert.ts";
import { INDEX, joinShards } from "./weights/shards.ts";

type Row = Output<"model.show">;
/** What a new version's maker says of it; the rest is read from its files. */
export type NewRecord = Omit<ModelRecord, "version" | "parameters" | "bytes" | "sha256" | "createdAt" | "code">;

export interface CatalogOptions {
  registry: Registry;
  folders: Folders;
  texts: TextModels;
  residents: Residents;
  /** Version of Soma, for records. */
  code: string;
  now: () => number;
}

export class Catalog {
  constructor(readonly options: CatalogOptions) {}

  list(): Row[] {
    // The curve is for `show`: a list must fit into one message.
    return this.options.registry.all().map((record) => this.row({ ...record, curve: [] }));
  }

  row(record: ModelRecord): Row {
    const { registry } = this.options;
    const { name, version, architecture, parameters, bytes, createdAt } = record;
    const loss = record.eval.test?.loss ?? record.curve.at(-1)?.validationLoss ?? record.curve.at(-1)?.loss;
    return {
      name,
      version,
      aliases: registry.aliasesOf(record),
      architecture,
      parameters,
      bytes,
      state: this.missing(record) ? "missing" : this.state(record),
      createdAt,
      ...(loss === undefined ? {} : { loss }),
      record: { ...record },
    };
  }

  private state(record: ModelRecord): string {
    const states = (["f32", "int8", "int4"] as const).map((dtype) =>
      this.options.residents.state(residentId(record, dtype)),
    );
    return states.find((state) => state !== undefined && state !== "absent") ?? "stored";
  }

  /** Whether the weights file is not what it was at registration: gone, or cut short. */
  missing(record: ModelRecord): boolean {
    const path = join(this.options.folders.of(record), WEIGHTS);
    return !existsSync(path) || statSync(path).size !== record.bytes;
  }

  /** A version's resident id, and what loading it takes. EIO when its files are not there. */
  wanted({ record, dtype }: Found): { id: string; wanted: Wanted } {
    const dir = this.options.folders.of(record);
    if (this.missing(record)) {
      throw new SomaError(
        "EIO",
        `the files of ${versionText(record)} in ${dir} are missing: import or train it again`,
        {
          retryable: false,
          executed: "no",
        },
      );
    }
    const { config, bytes, sha256 } = record;
    const { texts } = this.options;
    const spelling = () => writeSpelling(dir, texts.of(record).tokenizer);
    const wanted = { dir, config, bytes, sha256, dtype, ...(record.templates ? { spelling } : {}) };
    return { id: residentId(record, dtype), wanted };
  }

  /** True if an alias keeps this resident. */
  aliased(id: string): boolean {
    const { registry } = this.options;
    const pointers = registry.aliasNames().flatMap((alias) => [registry.alias(alias), registry.alias(alias)?.canary]);
    return pointers.some((to) => to !== undefined && residentId(to, to.dtype) === id);
  }

  /** Gives a staged folder its version, and its record to the registry: from then on it exists. */
  async register(staged: string, made: NewRecord): Promise<ModelRecord> {
    const { registry, folders, code, now } = this.options;
    const tensors = readHeader(join(staged, WEIGHTS));
    const record: ModelRecord = {
      ...made,
      version: await registry.nextVersion(made.name),
      parameters: tensors.reduce((sum, { shape }) => sum + elements(shape), 0),
      ...(await digest(join(staged, WEIGHTS))),
      createdAt: now(),
      code,
    };
    await writeFiles(staged, { "record.json": record });
    await folders.publish(staged, record);
    await registry.add(record);
    return record;
  }

  /** Registers a folder in Hugging Face's form, or a GGUF file. ENOENT and EINVAL name the file and what is wrong with it. */
  async importDir(dir: string, name: string, parent = dir): Promise<ModelRecord> {
    checkName(name);
    if (!isAbsolute(dir))
      throw new SomaError("EINVAL", `"${dir}" must be an absolute path on the model service's host`);
    const { folders } = this.options;
    const staged = await folders.stage(`import-${name}-${process.pid}-${this.options.now()}`);
    try {
      await bring(dir, staged);
      const config = readJson(staged, "config.json");
      const tensors = readHeader(join(staged, WEIGHTS));
      const text = config.model_type !== "mlp";
      if (text) checkEmbedding(config, tensors);
      const spoken = text ? readTemplates(staged, loadTokenizer(readJson(staged, "tokenizer.json"))) : {};
      return await this.register(staged, {
        name,
        architecture: String(config.model_type ?? "llama"),
        config,
        ...spoken,
        curve: [],
        eval: {},
        parent,
        note: "imported: what it was trained on is not known here",
      });
    } catch (error) {
      await folders.remove(staged);
      throw error;
    }
  }

  /** Copies a version's files; returns their names. */
  async export(record: ModelRecord, dir: string): Promise<string[]> {
    if (!isAbsolute(dir))
      throw new SomaError("EINVAL", `"${dir}" must be an absolute path on the model service's host`);
    if (FILES.some((name) => existsSync(join(dir, name)))) {
      throw new SomaError("EEXIST", `${dir} holds a model already: choose an empty folder`);
    }
    return await copyModel(this.options.folders.of(record), dir);
  }

  /**
   * Loads a version, then points the alias at it in one write: requests from then on run on it, those that run go on with
   * the former one, which is given back after the last of them.
   */
  async deploy(found: Found, alias: string, dtype?: "f32" | "int8" | "int4"): Promise<{ previous: string | null }> {
    const { registry, residents } = this.options;
    const chosen = { record: found.record, dtype: dtype ?? "f32" };
    const { name, version } = chosen.record;
    const before = registry.alias(alias);
    if (chosen.record.templates) {
      const { id, wanted } = this.wanted(chosen);
      await residents.need(id, wanted, `alias ${alias}`);
      residents.release(id, `alias ${alias}`);
    }
    const previous = before && { name: before.name, version: before.version, dtype: before.dtype };
    const last = { what: "deployed", why: versionText(chosen.record), at: this.options.now() };
    await registry.point(alias, { name, version, dtype: chosen.dtype, ...(previous ? { previous } : {}), last });
    const old = before && residentId(before, before.dtype);
    if (old !== undefined && !this.aliased(old)) residents.retire(old);
    return { previous: before ? versionText(before) : null };
  }

  /** EBUSY while an alias names it. */
  async remove(record: ModelRecord): Promise<void> {
    const { registry, residents, texts, folders } = this.options;
    await registry.remove(record);
    for (const dtype of ["f32", "int8", "int4"] as const) residents.retire(residentId(record, dtype));
    texts.forget(record);
    await folders.remove(folders.of(record));
  }

  /** The examples of a split that a version carries. */
  examples(record: ModelRecord, split: KeptExample["split"]): KeptExample[] {
    const path = join(this.options.folders.of(record), "examples.jsonl");
    if (!existsSync(path)) {
      throw new SomaError(
        "EINVAL",
        `${versionText(record)} carries no examples: only models trained here can be measured`,
      );
    }
    return readExamplesFile(path).filter((example) => example.split === split);
  }
}

export function readExamplesFile(path: string): KeptExample[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as KeptExample);
}

/** Puts what lies at `from` into a staged folder, as one model.safetensors whatever it was. */
async function bring(from: string, staged: string): Promise<void> {
  if (from.endsWith(".gguf")) {
    if (!existsSync(from)) throw new SomaError("ENOENT", `no file ${from} on the model service's host`);
    return await convertGguf(from, staged);
  }
  const found = await copyModel(from, staged);
  if (found.includes(WEIGHTS)) return;
  if (!existsSync(join(from, INDEX))) throw new SomaError("ENOENT", `${from} has no ${WEIGHTS}`);
  await joinShards(from, join(staged, WEIGHTS));
}

/** A config that belongs to other weights is noticed here, not when the model is first asked. */
function checkEmbedding(config: Record<string, unknown>, tensors: readonly { name: string; shape: number[] }[]): void {
  const name = "model.embed_tokens.weight";
  const found = tensors.find((tensor) => tensor.name === name);
  if (found === undefined) throw new SomaError("EINVAL", `${WEIGHTS} has no tensor ${name}: is it a Llama-like model?`);
  const [vocab, width] = [config.vocab_size, config.hidden_size];
  if (found.shape[0] === vocab && found.shape[1] === width) return;
  throw new SomaError(
    "EINVAL",
    `${name} is [${found.shape}], config.json says [${vocab},${width}]: they do not belong together`,
  );
}
