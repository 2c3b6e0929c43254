// Owns what apps remember: small values by namespace and key, within a quota.
import { encode } from "../../kernel/abi/codec.ts";
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { Serial } from "../../kernel/ipc/serial.ts";
import type { Kv } from "../../kernel/ipc/store.ts";

export interface ValueQuota {
  bytes: number;
  keys: number;
}

/** What a namespace may hold. */
export const VALUE_QUOTA: ValueQuota = { bytes: 16 * 1024 * 1024, keys: 4096 };

/** Bytes of the stored value. Namespaces and keys are counted from the bucket itself, so a crash cannot make them wrong. */
type Sizes = Map<string, number>;

export class Values {
  private readonly namespaces = new Map<string, Sizes>();
  private readonly turns = new Serial();

  private constructor(
    private readonly kv: Kv,
    private readonly quota: ValueQuota,
  ) {}

  /** Reads what is there, by size only. We are the bucket's only writer, so our count stays right. */
  static async open(kv: Kv, quota: ValueQuota = VALUE_QUOTA): Promise<Values> {
    const values = new Values(kv, quota);
    for (const [path, bytes] of await kv.sizes()) {
      const dot = path.indexOf(".");
      const namespace = path.slice(0, dot);
      // The blobs' records share the bucket, under a name that no namespace can have.
      if (namespace.startsWith("_")) continue;
      if (!values.namespaces.has(namespace)) values.namespaces.set(namespace, new Map());
      values.namespaces.get(namespace)!.set(path.slice(dot + 1), bytes);
    }
    return values;
  }

  /** ENOENT when there is none. */
  async get(namespace: string, key: string): Promise<{ value: unknown; revision: number }> {
    const entry = this.namespaces.get(namespace)?.has(key) ? await this.kv.get(`${namespace}.${key}`) : undefined;
    if (entry === undefined) throw new SomaError("ENOENT", `${namespace} remembers nothing as "${key}": put it first`);
    return { value: entry.value, revision: entry.revision };
  }

  /** Stored when it resolves. With a revision, only if unchanged since (0: only if there is none); EAGAIN otherwise. */
  put(namespace: string, key: string, value: unknown, revision?: number): Promise<number> {
    return this.turns.run(namespace, async () => {
      const sizes: Sizes = this.namespaces.get(namespace) ?? new Map();
      const count = (size: number) => {
        sizes.set(key, size);
        this.namespaces.set(namespace, sizes);
      };
      const bytes = encode(value).length;
      this.checkQuota(namespace, sizes, key, bytes);
      try {
        const stored = await this.kv.put(`${namespace}.${key}`, value, revision);
        count(bytes);
        return stored;
      } catch (error) {
        if (isSomaError(error, "EAGAIN")) throw changed(namespace, key, error);
        // Perhaps it was stored all the same: count it, rather too much than too little, until the next write or start.
        if (isSomaError(error, "EIO")) count(Math.max(bytes, sizes.get(key) ?? 0));
        throw error;
      }
    });
  }

  /** Nothing happens when there is none. */
  del(namespace: string, key: string): Promise<void> {
    return this.turns.run(namespace, () => this.remove(namespace, key));
  }

  keys(namespace: string, prefix: string): string[] {
    return [...(this.namespaces.get(namespace)?.keys() ?? [])].filter((key) => key.startsWith(prefix)).sort();
  }

  /** Deletes a whole namespace; gives the number of values. */
  wipe(namespace: string): Promise<number> {
    return this.turns.run(namespace, async () => {
      const keys = [...(this.namespaces.get(namespace)?.keys() ?? [])];
      for (const key of keys) await this.remove(namespace, key);
      return keys.length;
    });
  }

  /** Namespace -> how many values, and their bytes. */
  usage(): Map<string, { keys: number; bytes: number }> {
    return new Map(
      [...this.namespaces].map(([namespace, sizes]) => [namespace, { keys: sizes.size, bytes: sum(sizes) }]),
    );
  }

  private async remove(namespace: string, key: string): Promise<void> {
    const sizes = this.namespaces.get(namespace);
    if (!sizes?.has(key)) return;
    await this.kv.del(`${namespace}.${key}`);
    sizes.delete(key);
    if (sizes.size === 0) this.namespaces.delete(namespace);
  }

  private checkQuota(namespace: string, sizes: Sizes, key: string, bytes: number): void {
    const { bytes: most, keys } = this.quota;
    if (!sizes.has(key) && sizes.size >= keys) {
      const what = `${namespace} remembers ${sizes.size} values, as many as it may`;
      throw new SomaError("EDQUOT", `${what}: forget some with memory.del`, { retryable: false });
    }
    const total = sum(sizes) - (sizes.get(key) ?? 0) + bytes;
    if (total > most) {
      const what = `${namespace} would hold ${total} bytes of at most ${most}`;
      throw new SomaError("EDQUOT", `${what}: forget some with memory.del, or use memory.write`, { retryable: false });
    }
  }
}

/** Trying the same again cannot help, so nobody does it by itself. */
function changed(namespace: string, key: string, cause: unknown): SomaError {
  const message = `"${key}" of ${namespace} changed meanwhile: get it again and put with its revision`;
  return new SomaError("EAGAIN", message, { retryable: false, cause });
}

function sum(sizes: Sizes): number {
  let total = 0;
  for (const bytes of sizes.values()) total += bytes;
  return total;
}
