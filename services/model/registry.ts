// Owns which versions and aliases there are. The truth is in the KV bucket `models`; this is its image, kept by a watch.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Kv } from "../../kernel/ipc/store.ts";
import { checkName } from "./folders.ts";
import { type Alias, type ModelRecord, versionText } from "./record.ts";

/** A bucket as the registry needs it; tests pass a map. */
export type Bucket = Pick<Kv<unknown>, "get" | "put" | "del" | "watch">;

// "." parts the tokens of a key and may be in a name; "=" may be in a key and never is in a name.
const safe = (name: string) => name.replaceAll(".", "=");
const keys = {
  record: (name: string, version: number) => `record.${safe(name)}.${version}`,
  alias: (alias: string) => `alias.${safe(alias)}`,
  /** The highest version ever given: a number is never used twice, even after its version was removed. */
  last: (name: string) => `last.${safe(name)}`,
};

export interface Found {
  record: ModelRecord;
  dtype: "f32" | "int8" | "int4";
}

export class Registry {
  private readonly records = new Map<string, ModelRecord>();
  private readonly aliases = new Map<string, Alias>();

  private constructor(private readonly bucket: Bucket) {}

  /** Resolves once everything that is stored was read. */
  static async open(bucket: Bucket): Promise<Registry> {
    const registry = new Registry(bucket);
    await bucket.watch((key, value) => registry.apply(key, value));
    return registry;
  }

  private apply(key: string, value: unknown): void {
    const [kind, name = "", version = ""] = key.split(".");
    if (kind === "last") return;
    const [map, id] =
      kind === "record"
        ? [this.records as Map<string, unknown>, `${name.replaceAll("=", ".")}@${version}`]
        : [this.aliases as Map<string, unknown>, name.replaceAll("=", ".")];
    if (value === undefined) map.delete(id);
    else map.set(id, value);
  }

  /** All versions, by name, then version. */
  all(): ModelRecord[] {
    return [...this.records.values()].sort((a, b) => a.name.localeCompare(b.name) || a.version - b.version);
  }

  /** The aliases that point at a version, for all or for some. */
  aliasesOf({ name, version }: { name: string; version: number }): string[] {
    return [...this.aliases]
      .filter(([, alias]) => [alias, alias.canary].some((to) => to?.name === name && to.version === version))
      .map(([alias]) => alias);
  }

  aliasNames(): string[] {
    return [...this.aliases.keys()].sort();
  }

  alias(alias: string): Alias | undefined {
    return this.aliases.get(alias);
  }

  /** `name@version`, an alias, or `name` for its newest version. ENOENT says what there is. */
  find(ref: string): Found {
    const alias = this.aliases.get(ref);
    const [name = "", version] = alias ? [alias.name, String(alias.version)] : ref.split("@");
    const newest = this.all().findLast((record) => record.name === name);
    const record = version === undefined ? newest : this.records.get(`${name}@${Number(version)}`);
    if (record) return { record, dtype: alias?.dtype ?? "f32" };
    const known = this.all().map(versionText).join(", ");
    throw new SomaError("ENOENT", `no model "${ref}": ${known ? `there are ${known}` : "train or import one first"}`);
  }

  /** A version number that nobody had. */
  async nextVersion(name: string): Promise<number> {
    const key = keys.last(checkName(name));
    for (;;) {
      const last = await this.bucket.get(key);
      const version = ((last?.value as number | undefined) ?? 0) + 1;
      try {
        await this.bucket.put(key, version, last?.revision ?? 0);
        return version;
      } catch (error) {
        // Another instance took this number in between.
        if (!(error instanceof SomaError && error.code === "EAGAIN")) throw error;
      }
    }
  }

  async add(record: ModelRecord): Promise<void> {
    const key = keys.record(checkName(record.name), record.version);
    await this.bucket.put(key, record);
    this.apply(key, record);
  }

  /** Points an alias elsewhere, in one write; returns what it pointed at. EINVAL when a model has that name. */
  async point(alias: string, to: Alias): Promise<Alias | undefined> {
    checkName(alias);
    if (this.all().some(({ name }) => name === alias) && alias !== to.name) {
      throw new SomaError("EINVAL", `"${alias}" is the name of a model: choose another alias`);
    }
    const previous = this.aliases.get(alias);
    await this.bucket.put(keys.alias(alias), to);
    this.apply(keys.alias(alias), to);
    return previous;
  }

  /** Forgets a version. EBUSY while an alias names it. */
  async remove(record: ModelRecord): Promise<void> {
    const [alias] = this.aliasesOf(record);
    if (alias !== undefined) {
      throw new SomaError("EBUSY", `alias "${alias}" points at ${versionText(record)}: deploy another version first`, {
        retryable: false,
      });
    }
    const key = keys.record(record.name, record.version);
    await this.bucket.del(key);
    this.apply(key, undefined);
  }
}
