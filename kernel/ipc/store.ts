// Owns access to JetStream: key-value buckets and streams, by the names of the table in abi. Object buckets: objects.ts.
import { setTimeout as sleep } from "node:timers/promises";
import {
  AckPolicy,
  DeliverPolicy,
  type JetStreamManager,
  type KV,
  type KvEntry,
  type KvWatchOptions,
  nanos,
} from "nats";
import { decode, encode } from "../abi/codec.ts";
import { isSomaError, SomaError } from "../abi/errors.ts";
import { STORES, type Store, type StoreName, streamName } from "../abi/storage.ts";
import type { NatsBus } from "./bus.ts";

export interface Entry<T> {
  key: string;
  value: T;
  revision: number;
}

/** ms between attempts to watch a bucket again. */
const RETRY = 100;

/** A bucket of MessagePack values. */
export class Kv<T = unknown> {
  private constructor(
    private readonly bus: NatsBus,
    private readonly kv: KV,
    private readonly name: StoreName,
  ) {}

  static async open<T>(bus: NatsBus, name: StoreName): Promise<Kv<T>> {
    const options = { bindOnly: true, allow_direct: true } as object;
    return new Kv<T>(bus, await jetstream(bus).views.kv(name, options), name);
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

  /** Forgets the notes of deletions that are older than half an hour; watchers were told of them. */
  async tidy(): Promise<void> {
    await this.guard((this.kv as KV & { purgeDeletes(): Promise<unknown> }).purgeDeletes());
  }

  async keys(filter = ">"): Promise<string[]> {
    const keys: string[] = [];
    for await (const key of await this.guard(this.kv.keys(filter))) keys.push(key);
    return keys;
  }

  /** Key -> bytes of its value, without fetching the values. */
  async sizes(filter = ">"): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    const stop = await this.follow({ key: filter, headers_only: true }, ({ key, operation, length }) => {
      if (operation === "PUT") sizes.set(key, length);
    });
    stop();
    return sizes;
  }

  async entries(filter = ">"): Promise<Entry<T>[]> {
    // Without a consumer: while a killed broker of a cluster is still thought to live, some are made on it, and are silent.
    const prefix = `$KV.${this.name}.`;
    const jsm = await jetstream(this.bus).jetstreamManager(false);
    const asked = jsm.streams.info(streamName(this.name), { subjects_filter: `${prefix}${filter}` });
    const keys = Object.keys((await this.guard(asked)).state.subjects ?? {}).map((at) => at.slice(prefix.length));
    const found = await Promise.all(keys.map((key) => this.get(key)));
    return found.filter((entry) => entry !== undefined);
  }

  /**
   * Calls back for what is there and for each change after; `value` undefined means deleted. Resolves once what is there
   * was told; all of it is told again when the broker came back, since the library notices that only after seconds.
   */
  async watch(
    onChange: (key: string, value: T | undefined, revision: number) => void,
    filter = ">",
  ): Promise<() => void> {
    const present = new Set<string>();
    const begin = async () => {
      const before = new Set(present);
      const stop = await this.follow({ key: filter }, ({ key, operation, value, revision }) => {
        before.delete(key);
        if (operation === "PUT") present.add(key);
        else present.delete(key);
        onChange(key, operation === "PUT" ? (decode(value) as T) : undefined, revision);
      });
      // Deleted so long ago that even the note of it is gone.
      for (const key of before) {
        present.delete(key);
        onChange(key, undefined, 0);
      }
      return stop;
    };
    let stop = await begin();
    let stopped = false;
    let restart = Promise.resolve();
    // A connection to another broker of a cluster is back before the store is: that takes an election.
    const again = async (): Promise<void> => {
      stop();
      if (stopped || !this.bus.connected) return;
      try {
        stop = await begin();
      } catch (error) {
        if (!isSomaError(error, "EIO")) throw error;
        await sleep(RETRY);
        await again();
      }
    };
    const forget = this.bus.on(({ type }) => {
      if (type === "back") restart = restart.then(again).catch(rethrow);
    });
    return () => {
      stopped = true;
      forget();
      stop();
    };
  }

  /** Reads what is there, then what comes, until stopped; resolves when all that is there was read. */
  private async follow(options: KvWatchOptions, onEntry: (entry: KvEntry) => void): Promise<() => void> {
    let told: () => void = () => {};
    let failed: (error: Error) => void = () => {};
    const initial = new Promise<void>((resolve, reject) => {
      told = resolve;
      failed = reject;
    });
    const watcher = await this.guard(this.kv.watch({ ...options, initializedFn: () => told() }));
    const forget = this.bus.on((event) => {
      if (event.type === "lost" || event.type === "closed")
        failed(new SomaError("EIO", "the broker went away while the store was read: try again", { executed: "no" }));
    });
    const read = async () => {
      for await (const entry of watcher) onEntry(entry);
    };
    // A handler's throw is our bug: it must end the actor, not the watch alone.
    read().catch(rethrow);
    try {
      await initial;
    } catch (error) {
      watcher.stop();
      throw error;
    } finally {
      forget();
    }
    // The library may say so while the last entries still wait in its queue, which is read in microtasks.
    await new Promise((resolve) => setImmediate(resolve));
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

/** What most need of a bucket. */
export type Bucket<T> = Pick<Kv<T>, "get" | "put" | "del" | "entries">;

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

/** Seconds without a message, though there are more, after which reading is given up. */
const SILENCE = 5;

export interface StreamEntry {
  subject: string;
  seq: number;
  at: number;
  value: unknown;
}

/** Reads the last `tail` messages of a stream that match the subject, those `after` a sequence or `since` a time, and, with `follow`, what comes. */
export async function* readStream(
  bus: NatsBus,
  store: StoreName,
  options: { subject?: string; tail?: number; after?: number; since?: number; follow?: boolean; signal?: AbortSignal },
): AsyncGenerator<StreamEntry> {
  const js = jetstream(bus);
  const stream = streamName(store);
  const jsm = await js.jetstreamManager(false);
  /** The broker may go away at each step. */
  const guard = <R>(step: Promise<R>): Promise<R> => step.catch((cause) => Promise.reject(storeError(store, cause)));
  const { state } = await guard(jsm.streams.info(stream));
  const filter = options.subject === undefined ? [...((STORES[store] as Store).subjects ?? [])] : [options.subject];
  const start =
    options.tail === undefined
      ? Math.max(state.first_seq, (options.after ?? 0) + 1)
      : await guard(tailStart(jsm, stream, filter, state.first_seq, state.last_seq, options.tail));
  const from =
    options.since === undefined
      ? { opt_start_seq: Math.max(1, start), deliver_policy: DeliverPolicy.StartSequence }
      : { opt_start_time: new Date(options.since).toISOString(), deliver_policy: DeliverPolicy.StartTime };
  const consumer = await guard(js.consumers.get(stream, { filterSubjects: filter, ...from }));
  const last = state.last_seq;
  if (!options.follow && (state.messages === 0 || start > last)) return;
  const messages = await guard(consumer.consume({ max_messages: 200, expires: 5_000 }));
  options.signal?.addEventListener("abort", () => void messages.close(), { once: true });
  // As it was made: what is filtered out is not pending.
  let pending = (await guard(consumer.info(true))).num_pending;
  // Without `follow` the end is the last message that was there at the start; silence before it is no end.
  const idle = options.follow ? undefined : setInterval(() => ++quiet >= SILENCE && void messages.close(), 1_000);
  let quiet = 0;
  try {
    if (!options.follow && pending === 0) return;
    for await (const message of messages) {
      quiet = 0;
      pending = message.info.pending;
      yield {
        subject: message.subject,
        seq: message.seq,
        at: message.info.timestampNanos / 1e6,
        value: decode(message.data),
      };
      if (!options.follow && (pending === 0 || message.seq >= last)) return;
    }
    if (!options.follow && !options.signal?.aborted)
      throw new SomaError("EIO", `the store "${store}" went silent while it was read: try again`, { executed: "no" });
  } finally {
    clearInterval(idle);
    await messages.close();
  }
}

/** The sequence from which the last `tail` messages of the subjects begin, at most; the reader drops what is too many. */
async function tailStart(
  jsm: JetStreamManager,
  stream: string,
  subjects: string[],
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
      filter_subjects: subjects,
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

/** Outside of any promise, so that it ends the actor. */
function rethrow(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

export function jetstream(bus: NatsBus) {
  // Apps and services hold no right to the account-wide info call that the check would make.
  return bus.nc.jetstream({ checkAPI: false, timeout: 5_000 } as object);
}

export function storeError(what: string, cause: unknown): unknown {
  if (cause instanceof SomaError) return cause;
  // The library's own message is a bare number where the broker refused in words.
  const refusal = (cause as { api_error?: { description?: string } }).api_error?.description;
  const text = refusal ?? (cause instanceof Error ? cause.message : String(cause));
  if (/wrong last sequence/i.test(text))
    return new SomaError("EAGAIN", `${what} changed meanwhile: read it again`, { cause });
  // Nothing was stored, and it passes by itself once there is room: not a budget that somebody must raise.
  const room = "make room where SOMA_HOME lies, then try again";
  if (/no space left/i.test(text))
    return new SomaError("EIO", `the disk of the store "${what}" is full: ${room}`, { executed: "no", cause });
  if (/maximum bytes|insufficient|exceeded/i.test(text))
    return new SomaError("EDQUOT", `the store "${what}" is full: see "soma df"`, { cause });
  if (/not found/i.test(text))
    return new SomaError("ENOENT", `the store "${what}" or its value is not there`, { cause });
  return new SomaError("EIO", `the store "${what}" did not answer: ${text}`, { cause });
}
