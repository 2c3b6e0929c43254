// Owns the data sets there are: records in the KV bucket `datasets`, shards as blobs of whoever added them.
import { createHash } from "node:crypto";
import { SomaError } from "../../../kernel/abi/errors.ts";
import type { Principal } from "../../../kernel/abi/headers.ts";
import { roleOf } from "../../../kernel/abi/names.ts";
import type { Output } from "../../../kernel/abi/syscalls.ts";
import type { Client } from "../../../kernel/ipc/client.ts";
import type { Kv } from "../../../kernel/ipc/store.ts";
import { readBlob, storeBlob } from "../blobs.ts";
import { type Split, splitOf } from "../builtin/split.ts";
import { type Example, readExamples } from "../text/records.ts";
import { decodeText } from "../text/utf8.ts";
import { type Building, build, type Card } from "./build.ts";

interface Shard {
  blob: string;
  bytes: number;
  rows: number;
}

export interface DataSet {
  name: string;
  /** SHA-256 over its shards' hashes, so over all that it holds, in order. */
  hash: string;
  owner: Principal;
  shards: Shard[];
  card: Card;
  createdAt: number;
}

type Row = Output<"model.showData">;

/** Hex digits of a hash in a reference: enough to tell a name's contents apart. */
const REFERENCE = 12;
const PREFIX = "data:";

export class Sets {
  private readonly sets = new Map<string, DataSet>();

  private constructor(
    private readonly bucket: Pick<Kv<DataSet>, "put" | "del" | "watch">,
    private readonly client: Client,
    private readonly now: () => number,
  ) {}

  static async open(
    bucket: Pick<Kv<DataSet>, "put" | "del" | "watch">,
    client: Client,
    now: () => number,
  ): Promise<Sets> {
    const sets = new Sets(bucket, client, now);
    await bucket.watch((key, set) => (set === undefined ? sets.sets.delete(name(key)) : sets.sets.set(name(key), set)));
    return sets;
  }

  list(asker: string): Row[] {
    return [...this.sets.values()]
      .filter((set) => may(asker, set))
      .sort((a, b) => a.name.localeCompare(b.name))
      .map(row);
  }

  /** `NAME` or `data:NAME@HASH`. ENOENT for what is not there, is another's, or has changed since. */
  find(ref: string, asker: string): DataSet {
    const [wanted = "", hash] = ref.replace(PREFIX, "").split("@");
    const set = this.sets.get(wanted);
    if (set === undefined || !may(asker, set)) {
      const names = this.list(asker).map((known) => known.name);
      throw new SomaError("ENOENT", `no data set "${wanted}": ${names.join(", ") || 'add one with "soma data add"'}`);
    }
    if (hash !== undefined && !set.hash.startsWith(hash))
      throw new SomaError("ENOENT", `"${wanted}" is ${refOf(set)} now, not ${ref}: its contents were replaced`);
    return set;
  }

  show(ref: string, asker: string): Row {
    return row(this.find(ref, asker));
  }

  /** Makes or replaces a set of JSONL lines; shards of the one before go. EPERM for a name that another has. */
  async add(
    wanted: string,
    pieces: AsyncIterable<Uint8Array>,
    building: Omit<Building, "shard">,
    owner: Principal,
  ): Promise<Row> {
    this.checkOwner(wanted, owner.principal);
    const shards: Shard[] = [];
    const shard = async (lines: Uint8Array, rows: number) => {
      const blob = await storeBlob(this.client, [lines], lines.length, { for: owner });
      shards.push({ blob, bytes: lines.length, rows });
    };
    try {
      const card = await build(decodeText(pieces, "data"), { ...building, shard });
      this.checkOwner(wanted, owner.principal);
      const hash = createHash("sha256");
      for (const { blob } of shards) hash.update(blob);
      const set = { name: wanted, hash: hash.digest("hex"), owner, shards, card, createdAt: this.now() };
      const before = this.sets.get(wanted);
      await this.bucket.put(key(wanted), set);
      this.sets.set(wanted, set);
      if (before) await this.give(before);
      return row(set);
    } catch (error) {
      await this.give({ shards, owner });
      throw error;
    }
  }

  async remove(ref: string, asker: string): Promise<void> {
    const set = this.find(ref, asker);
    await this.bucket.del(key(set.name));
    this.sets.delete(set.name);
    await this.give(set);
  }

  /** All examples, or those of one split, in order; one piece of a shard is in memory at a time. */
  async *examples(set: DataSet, split?: Split, signal?: AbortSignal): AsyncGenerator<Example> {
    for (const { blob } of set.shards) {
      const pieces = readBlob(this.client, blob, { for: set.owner, ...(signal ? { signal } : {}) });
      for await (const example of readExamples(decodeText(pieces, set.name), set.name))
        if (split === undefined || splitOf(example) === split) yield example;
    }
  }

  private checkOwner(wanted: string, principal: string): void {
    const set = this.sets.get(wanted);
    if (set && set.owner.principal !== principal && roleOf(principal) === "app")
      throw new SomaError("EPERM", `the data set "${wanted}" is not ${principal}'s: choose another name`);
  }

  /** Gives shards back that no other set of the same owner has. */
  private async give({ shards, owner }: Pick<DataSet, "shards" | "owner">): Promise<void> {
    const own = [...this.sets.values()].filter((set) => set.owner.principal === owner.principal);
    const used = new Set(own.flatMap((set) => set.shards.map(({ blob }) => blob)));
    for (const { blob } of shards) if (!used.has(blob)) await this.client.call("memory.drop", { blob }, { for: owner });
  }
}

/** What a training names: this name with this content. */
export function refOf({ name, hash }: Pick<DataSet, "name" | "hash">): string {
  return `${PREFIX}${name}@${hash.slice(0, REFERENCE)}`;
}

/** A person uses what is there, an app what is its own. */
function may(asker: string, { owner }: DataSet): boolean {
  return roleOf(asker) !== "app" || owner.principal === asker;
}

function row(set: DataSet): Row {
  const { name, hash, owner, shards, card, createdAt } = set;
  const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  const { kept: rows } = card;
  return {
    name,
    ref: refOf(set),
    hash,
    owner: owner.principal,
    rows,
    bytes,
    shards: shards.length,
    createdAt,
    card: { ...card },
  };
}

// "." parts the tokens of a key; "=" may be in a key and never is in a name.
const key = (name: string) => name.replaceAll(".", "=");
const name = (key: string) => key.replaceAll("=", ".");
