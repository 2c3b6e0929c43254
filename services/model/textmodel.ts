// Owns the text side of a model version: tokenizer, templates, ids that end an answer, room. Read from its folder once.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SomaError } from "../../kernel/abi/errors.ts";
import { readJson, readOptional } from "./folders.ts";
import { type ModelRecord, versionText } from "./record.ts";
import { DEFAULT_TASKS, type Templates } from "./text/templates.ts";
import { loadTokenizer, type Tokenizer } from "./text/tokenizer.ts";

export interface TextModel {
  tokenizer: Tokenizer;
  templates: Templates;
  stopIds: readonly number[];
  /** Positions: prompt and answer together. */
  context: number;
}

/** Texts of so many models stay in memory; a tokenizer of 150,000 tokens takes some 50 MB. */
const KEPT = 8;

export class TextModels {
  private readonly kept = new Map<string, TextModel>();

  constructor(private readonly folderOf: (record: ModelRecord) => string) {}

  /** EINVAL for a model without text. */
  of(record: ModelRecord): TextModel {
    const id = versionText(record);
    if (record.templates === undefined) {
      throw new SomaError("EINVAL", `${id} is a ${record.architecture} and knows no text: choose another model`);
    }
    const found = this.kept.get(id) ?? readTextModel(this.folderOf(record), record.templates, record.stopIds ?? []);
    // The map keeps the order of insertion: the first one is the longest unused.
    this.kept.delete(id);
    this.kept.set(id, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value!);
    return found;
  }

  forget(record: ModelRecord): void {
    this.kept.delete(versionText(record));
  }
}

/** A model's folder with templates that are known already. */
export function readTextModel(dir: string, templates: Templates, stopIds: readonly number[]): TextModel {
  const context = Number(readJson(dir, "config.json").max_position_embeddings ?? 2048);
  return { tokenizer: loadTokenizer(readJson(dir, "tokenizer.json")), templates, stopIds, context };
}

/** What a folder in Hugging Face's form says of templates and ends of answers. */
export function readTemplates(dir: string, tokenizer: Tokenizer): { templates: Templates; stopIds: number[] } {
  const settings = readOptional(dir, "tokenizer_config.json") ?? {};
  const jinja = join(dir, "chat_template.jinja");
  const chat = existsSync(jinja) ? readFileSync(jinja, "utf8") : chatOf(settings.chat_template);
  const [bos, eos] = [tokenText(settings.bos_token), tokenText(settings.eos_token)];
  // A folder that was exported from here brings the tasks that its model was trained for.
  const own = readOptional(dir, "record.json")?.templates as Templates | undefined;
  const templates = own ?? {
    tasks: DEFAULT_TASKS,
    ...(chat === undefined ? {} : { chat }),
    ...(bos === undefined ? {} : { bos }),
    ...(eos === undefined ? {} : { eos }),
  };
  const stated = readOptional(dir, "generation_config.json")?.eos_token_id ?? readJson(dir, "config.json").eos_token_id;
  const ids = [stated].flat().filter((id): id is number => typeof id === "number");
  // Instruct models end a turn with the tokenizer's eos, which config.json often does not name.
  const turn = eos === undefined ? [] : [tokenizer.idOf(eos)];
  return { templates, stopIds: [...new Set([...ids, ...turn])] };
}

/** A string, or a list of named ones of which "default" counts. */
function chatOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.find((entry) => entry?.name === "default") ?? value[0];
  return typeof named?.template === "string" ? named.template : undefined;
}

function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}
