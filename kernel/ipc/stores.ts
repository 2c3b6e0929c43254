// Owns making the stores of the table in abi, and how full they are. For the kernel.
import { isDeepStrictEqual } from "node:util";
import { DiscardPolicy, type JetStreamManager, NatsError, nanos, RetentionPolicy, StorageType } from "nats";
import { STORES, type Store, type StoreName, streamName } from "../abi/storage.ts";
import type { NatsBus } from "./bus.ts";
import { storeError } from "./store.ts";

/** Makes stores of the table, or adjusts their limits. For the kernel. `replicas` is 1 on one broker. */
export async function createStores(
  bus: NatsBus,
  replicas = 1,
  names: readonly StoreName[] = Object.keys(STORES) as StoreName[],
): Promise<void> {
  const jsm = await bus.nc.jetstreamManager();
  // At once: on several brokers each one waits for an election of its own.
  await Promise.all(names.map((name) => createStore(jsm, name, replicas)));
}

async function createStore(jsm: JetStreamManager, name: StoreName, replicas: number): Promise<void> {
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
    const { config: present } = await jsm.streams.info(stream);
    // A kernel that takes over is not to wait for what would change nothing.
    const same = Object.entries(config).every(([key, value]) => isDeepStrictEqual(present[key as never], value));
    if (!same) await jsm.streams.update(stream, config);
  } catch (error) {
    if (!(error instanceof NatsError) || !/not found/i.test(error.message)) throw storeError(name, error);
    await jsm.streams.add(config as never).catch((cause) => Promise.reject(storeError(name, cause)));
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

/** The broker's clock, unix ms. For the kernel. */
export async function brokerClock(bus: NatsBus): Promise<number> {
  const jsm = await bus.nc.jetstreamManager();
  const name = streamName(Object.keys(STORES)[0] as StoreName);
  // Every info says when it was made; the types of the client leave that out.
  return Date.parse(((await jsm.streams.info(name)) as unknown as { ts: string }).ts);
}

function storeSubjects(name: StoreName, store: Store): string[] {
  if (store.kind === "kv") return [`$KV.${name}.>`];
  if (store.kind === "objects") return [`$O.${name}.C.>`, `$O.${name}.M.>`];
  return [...(store.subjects ?? [])];
}
