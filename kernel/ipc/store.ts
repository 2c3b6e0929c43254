// Owns access to JetStream: key-value buckets, object buckets and streams, by the names of the table in abi.
import {
  AckPolicy,
  DiscardPolicy,
  type JetStreamManager,
  type KV,
  NatsError,
  nanos,
  type ObjectStore,
  RetentionPolicy,
  StorageType,
} from "nats";
import { decode, encode } from "../abi/codec.ts";
import { SomaError } from "../abi/errors.ts";
import { STORES, type Store, type StoreName, streamName } from "../abi/storage.ts";
import type { NatsBus } from "./bus.ts";

export interface Entry<T> {
  key: string;
  value: T;
  revision: number;
}

/** A bucket of MessagePack values. */
export class Kv<T = unknown> {
  private constructor(
    private readonly kv: KV,
    private readonly name: StoreName,
  ) {}

  static async open<T>(bus: NatsBus, name: StoreName): Promise<Kv<T>> {
    const options = { bindOnly: true, allow_direct: true } as object;
    return new Kv<T>(await jetstream(bus).views.kv(name, options), name);
  }

  async get(key: string): Promise<Entry<T> | undefined> {
    const entry = await this.guard(this.kv.get(key));
    if (entry === null || entry.operation !== "PUT") return undefined;
    return { key, value: decode(entry.value) as T, revision: entry.revision };
  }

  /** Stores; with a revision only if the key is unchanged since (0: only if absent), else EAGAIN. Returns the new revision. */
  put(key: string, value: T, revision?: number): Promise<number> {
    const bytes = encode(value);
    if (revision === undefined) return this.guard(this.kv.put(key, bytes));
    return this.guard(revision === 0 ? this.kv.create(key, bytes) : this.kv.update(key, bytes, revision));
  }

  async del(key: string): Promise<void> {
    await this.guard(this.kv.purge(key));
  }

  async keys(filter = ">"): Promise<string[]> {
    const keys: string[] = [];
    for await (const key of await this.guard(this.kv.keys(filter))) keys.push(key);
    return keys;
  }

  async entries(filter = ">"): Promise<Entry<T>[]> {
    const found = await Promise.all((await this.keys(filter)).map((key) => this.get(key)));
    return found.filter((entry) => entry !== undefined);
  }

  /** Calls back for what is there and for each change after; `value` undefined means deleted. Resolves once what is there was told. */
  async watch(
    onChange: (key: string, value: T | undefined, revision: number) => void,
    filter = ">",
  ): Promise<() => void> {
    let told: () => void = () => {};
    const initial = new Promise<void>((resolve) => {
      told = resolve;
    });
    const watcher = await this.guard(this.kv.watch({ key: filter, initializedFn: () => told() }));
    const ended = (async () => {
      for await (const entry of watcher) {
        onChange(entry.key, entry.operation === "PUT" ? (decode(entry.value) as T) : undefined, entry.revision);
      }
    })();
    // A handler's throw is our bug: it must end the actor, not the watch alone.
    ended.catch((error) =>
      setImmediate(() => {
        throw error;
      }),
    );
    await initial;
    return () => watcher.stop();
  }

  private async guard<R>(promise: Promise<R>): Promise<R> {
    try {
      return await promise;
    } catch (cause) {
      throw storeError(this.name, cause);
    }
  }
}

/** An object bucket: large values in chunks. */
export class Objects {
  private constructor(
    private readonly os: ObjectStore,
    private readonly name: StoreName,
  ) {}

  static async open(bus: NatsBus, name: StoreName): Promise<Objects> {
    const config = STORES[name];
    return new Objects(
      await jetstream(bus).views.os(name, {
        max_bytes: config.maxBytes,
        storage: StorageType.File,
        description: config.what,
      }),
      name,
    );
  }

  async put(name: string, data: ReadableStream<Uint8Array>): Promise<void> {
    await this.guard(this.os.put({ name, options: { max_chunk_size: 128 * 1024 } }, data));
  }
  async get(name: string): Promise<{ size: number; data: ReadableStream<Uint8Array> } | undefined> {
    const found = await this.guard(this.os.get(name));
    return found === null ? undefined : { size: found.info.size, data: found.data };
  }
  async size(name: string): Promise<number | undefined> {
    const info = await this.guard(this.os.info(name));
    return info === null || info.deleted ? undefined : info.size;
  }
  async del(name: string): Promise<void> {
    await this.guard(this.os.delete(name));
  }
  async names(): Promise<string[]> {
    return (await this.guard(this.os.list())).map((info) => info.name);
  }

  private async guard<R>(promise: Promise<R>): Promise<R> {
    try {
      return await promise;
    } catch (cause) {
      throw storeError(this.name, cause);
    }
  }
}

/** Appends to a stream; resolves once it is stored. `dedupe`: the same id within two minutes is stored once. */
export async function append(
  bus: NatsBus,
  subject: string,
  value: unknown,
  dedupe?: string,
): Promise<{ seq: number; duplicate: boolean }> {
  try {
    const ack = await jetstream(bus).publish(subject, encode(value), dedupe === undefined ? {} : { msgID: dedupe });
    return { seq: ack.seq, duplicate: ack.duplicate };
  } catch (cause) {
    throw storeError(subject, cause);
  }
}

export interface StreamEntry {
  subject: string;
  seq: number;
  at: number;
  value: unknown;
}

/** Reads the last `tail` messages of a stream that match the subject, or those `after` a sequence, and, with `follow`, what comes. */
export async function* readStream(
  bus: NatsBus,
  store: StoreName,
  options: { subject?: string; tail?: number; after?: number; follow?: boolean; signal?: AbortSignal },
): AsyncGenerator<StreamEntry> {
  const js = jetstream(bus);
  const stream = streamName(store);
  const jsm = await js.jetstreamManager(false);
  const { state } = await jsm.streams.info(stream);
  const subject = options.subject ?? (STORES[store] as { subjects?: readonly string[] }).subjects?.[0] ?? ">";
  const start =
    options.tail === undefined
      ? Math.max(state.first_seq, (options.after ?? 0) + 1)
      : await tailStart(jsm, stream, subject, state.first_seq, state.last_seq, options.tail);
  const consumer = await js.consumers.get(stream, {
    filterSubjects: subject,
    opt_start_seq: Math.max(1, start),
    deliver_policy: "by_start_sequence" as never,
  });
  const last = state.last_seq;
  if (!options.follow && (state.messages === 0 || start > last)) return;
  const messages = await consumer.consume({ max_messages: 200, expires: 5_000 });
  options.signal?.addEventListener("abort", () => void messages.close(), { once: true });
  // Without `follow` the end is the last message that was there at the start, or silence for those filtered out.
  const idle = options.follow ? undefined : setInterval(() => quiet++ > 3 && void messages.close(), 100);
  let quiet = 0;
  try {
    for await (const message of messages) {
      quiet = 0;
      yield {
        subject: message.subject,
        seq: message.seq,
        at: message.info.timestampNanos / 1e6,
        value: decode(message.data),
      };
      if (!options.follow && message.seq >= last) return;
    }
  } finally {
    clearInterval(idle);
    await messages.close();
  }
}

/** The sequence from which the last `tail` messages of a subject begin, at most; the reader drops what is too many. */
async function tailStart(
  jsm: JetStreamManager,
  stream: string,
  subject: string,
  first: number,
  last: number,
  tail: number,
): Promise<number> {
  if (tail === 0) return last + 1;
  let span = tail;
  for (;;) {
    const from = Math.max(first, last - span + 1);
    if (from <= first) return first;
    const info = await jsm.consumers.add(stream, {
      filter_subject: subject,
      opt_start_seq: from,
      deliver_policy: "by_start_sequence" as never,
      ack_policy: AckPolicy.None,
      inactive_threshold: nanos(1_000),
      mem_storage: true,
    });
    const enough = info.num_pending >= tail;
    await jsm.consumers.delete(stream, info.name);
    if (enough) return from;
    span *= 4;
  }
}

/** Makes every store of the table, or adjusts its limits. For the kernel. `replicas` is 1 on one broker. */
export async function createStores(bus: NatsBus, replicas = 1): Promise<void> {
  const jsm = await bus.nc.jetstreamManager();
  for (const name of Object.keys(STORES) as StoreName[]) {
    const store: Store = STORES[name];
    const stream = streamName(name);
    const config = {
      name: stream,
      storage: StorageType.File,
      num_replicas: replicas,
      retention: RetentionPolicy.Limits,
      max_bytes: store.maxBytes,
      max_age: nanos(store.maxAgeMs),
      discard: store.full === "drop" ? DiscardPolicy.Old : DiscardPolicy.New,
      allow_direct: true,
      allow_rollup_hdrs: store.kind !== "stream",
      deny_delete: false,
      description: store.what,
      subjects: storeSubjects(name, store),
      max_msgs_per_subject: store.kind === "kv" ? (store.history ?? 1) : -1,
      duplicate_window: nanos(120_000),
    };
    try {
      await jsm.streams.info(stream);
      await jsm.streams.update(stream, config);
    } catch (error) {
      if (!(error instanceof NatsError) || !/not found/i.test(error.message)) throw storeError(name, error);
      await jsm.streams.add(config as never);
    }
  }
}

/** How full each store is. For the kernel. */
export async function storeUsage(bus: NatsBus): Promise<{ name: StoreName; bytes: number; messages: number }[]> {
  const jsm = await bus.nc.jetstreamManager();
  return Promise.all(
    (Object.keys(STORES) as StoreName[]).map(async (name) => {
      const { state } = await jsm.streams.info(streamName(name));
      return { name, bytes: state.bytes, messages: state.messages };
    }),
  );
}

function storeSubjects(name: StoreName, store: Store): string[] {
  if (store.kind === "kv") return [`$KV.${name}.>`];
  if (store.kind === "objects") return [`$O.${name}.C.>`, `$O.${name}.M.>`];
  return [...(store.subjects ?? [])];
}

function jetstream(bus: NatsBus) {
  // Apps and services hold no right to the account-wide info call that the check would make.
  return bus.nc.jetstream({ checkAPI: false, timeout: 5_000 } as object);
}

function storeError(what: string, cause: unknown): unknown {
  if (cause instanceof SomaError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/wrong last sequence/i.test(text))
    return new SomaError("EAGAIN", `${what} changed meanwhile: read it again`, { cause });
  if (/maximum bytes|insufficient|no space|exceeded/i.test(text))
    return new SomaError("EDQUOT", `the store "${what}" is full: see "soma df"`, { cause });
  if (/not found/i.test(text))
    return new SomaError("ENOENT", `the store "${what}" or its value is not there`, { cause });
  return new SomaError("EIO", `the store "${what}" did not answer: ${text}`, { cause });
}
