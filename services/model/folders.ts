// Owns the model files on disk: $SOMA_HOME/models/<name>/<version>/, and .staging/<id>/ for what is not finished.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { SomaError } from "../../kernel/abi/errors.ts";

export const WEIGHTS = "model.safetensors";
/** The files that Hugging Face tools know, and ours. Nothing else is copied by import and export. */
export const FILES = [
  "config.json",
  WEIGHTS,
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
  "examples.jsonl",
  "record.json",
] as const;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** EINVAL unless a model may have this name: it becomes a folder and a key. */
export function checkName(name: string): string {
  if (NAME.test(name) && !name.endsWith(".") && !name.includes("..")) return name;
  throw new SomaError("EINVAL", `"${name}" is no model name: use letters, digits, ".", "_" and "-", 64 at most`);
}

export class Folders {
  readonly root: string;

  constructor(home = process.env.SOMA_HOME || join(homedir(), ".soma")) {
    this.root = join(home, "models");
  }

  /** Where a version lies. */
  of({ name, version }: { name: string; version: number }): string {
    return join(this.root, checkName(name), String(version));
  }

  /** Where unfinished work of this id lies, if there is any. */
  staging(id: string): string {
    return join(this.root, ".staging", id);
  }

  /** Makes it, unless it is there. */
  async stage(id: string): Promise<string> {
    const dir = this.staging(id);
    await mkdir(dir, { recursive: true });
    return dir;
  }

  /** Moves a staged folder to its place, in one step: a version is there as a whole or not at all. */
  async publish(staged: string, id: { name: string; version: number }): Promise<string> {
    const dir = this.of(id);
    await mkdir(join(dir, ".."), { recursive: true });
    // What lies there under a version never registered is a leftover of a crash between this rename and the record.
    await rm(dir, { recursive: true, force: true });
    await rename(staged, dir);
    return dir;
  }

  async remove(dir: string): Promise<void> {
    await rm(dir, { recursive: true, force: true });
  }

  /** Staged folders of nobody: leftovers of crashes. */
  async sweep(keep: ReadonlySet<string>): Promise<void> {
    const staging = join(this.root, ".staging");
    if (!existsSync(staging)) return;
    for (const id of await readdir(staging)) if (!keep.has(id)) await this.remove(join(staging, id));
  }
}

/** Writes files into a folder; objects become JSON. */
export async function writeFiles(dir: string, files: Readonly<Record<string, object | string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const text = typeof content === "string" ? content : `${JSON.stringify(content, null, 2)}\n`;
    await writeFile(join(dir, name), text);
  }
}

/** Copies what of FILES is there; returns the names. ENOENT when the folder is not there. */
export async function copyModel(from: string, to: string): Promise<string[]> {
  if (!existsSync(from)) throw new SomaError("ENOENT", `no folder ${from} on the model service's host`);
  await mkdir(to, { recursive: true });
  const found = FILES.filter((name) => existsSync(join(from, name)));
  for (const name of found) await copyFile(join(from, name), join(to, name));
  return found;
}

/** A JSON file of a model's folder. ENOENT names it when it is missing, EINVAL when it is no JSON. */
export function readJson(dir: string, name: string): Record<string, unknown> {
  const path = join(dir, name);
  if (!existsSync(path)) throw new SomaError("ENOENT", `${dir} has no ${name}: a model folder needs it`);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new SomaError("EINVAL", `${path} is not JSON: fetch the file again`, { cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new SomaError("EINVAL", `${path} holds no JSON object: fetch the file again`);
}

/** The same for a file that may be missing. */
export function readOptional(dir: string, name: string): Record<string, unknown> | undefined {
  return existsSync(join(dir, name)) ? readJson(dir, name) : undefined;
}

/** Size and hash of a file that is read once, piece by piece. */
export async function digest(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return { bytes: statSync(path).size, sha256: hash.digest("hex") };
}

/** Writes what arrives in pieces to a file. */
export async function receive(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  await pipeline(pieces, createWriteStream(path));
}
