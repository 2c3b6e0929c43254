// Owns the table of what a page may watch: the calls behind each topic, and how often they are made while somebody looks.
import { isSomaError, SomaError } from "../../kernel/abi/errors.ts";
import { serviceOf } from "../../kernel/abi/names.ts";
import type { Chunk, Output } from "../../kernel/abi/syscalls.ts";
import type { CallOptions, Soma } from "../sdk/soma.ts";
import type { Topic } from "./feed.ts";

type Query = Readonly<Record<string, string>>;
type Inspected = Output<"kernel.inspect">["actors"][number];

interface Entry {
  /** ms between readings. */
  every: number;
  read: (soma: Soma, query: Query, options: CallOptions) => Promise<unknown>;
}

/** Rows of audit and traces that a page shows. */
const TAIL = 200;

const TOPICS: Record<string, Entry> = {
  overview: {
    every: 1_000,
    read: async (soma, _query, options) => {
      const [info, { processes }, { models }, device, { jobs }, queue] = await Promise.all([
        soma.kernel.info({}, options),
        soma.kernel.ps({}, options),
        here(soma.model.list({}, options), { models: [] }),
        here(soma.device.list({}, options), undefined),
        here(soma.model.allJobs({}, options), { jobs: [] }),
        here(soma.scheduler.queue({}, options), undefined),
      ]);
      const { uptimeMs: _, ...system } = info;
      return { system, processes, models, device, jobs, queue };
    },
  },
  actors: {
    every: 300,
    read: async (soma, _query, options) => {
      const { processes } = await soma.kernel.ps({}, options);
      const services = processes.filter(({ kind }) => kind === "service");
      const own = await inspect(soma, "kernel", options);
      const others = await Promise.all(services.map(({ id }) => inspect(soma, id, options)));
      return [own, ...others];
    },
  },
  queue: {
    every: 1_000,
    read: async (soma, _query, options) => {
      const [{ sequences }, policy] = await Promise.all([
        soma.scheduler.queue({}, options),
        soma.scheduler.policy({}, options),
      ]);
      return { at: Date.now(), sequences, ...policy };
    },
  },
  devices: {
    every: 1_000,
    read: async (soma, _query, options) => {
      const { processes } = await soma.kernel.ps({}, options);
      const instances = processes.filter(({ id, state }) => serviceOf(id) === "device" && state === "ready");
      const [devices, { devices: memory }, { parts }] = await Promise.all([
        Promise.all(
          instances.map(async ({ id }) => ({
            id,
            ...(await soma.device.list({}, { ...options, instance: id })),
          })),
        ),
        soma.memory.free({}, options),
        soma.scheduler.parts({}, options),
      ]);
      return { devices, memory, parts };
    },
  },
  models: { every: 2_000, read: (soma, _query, options) => soma.model.list({}, options) },
  model: { every: 5_000, read: (soma, { ref }, options) => soma.model.show({ model: need("ref", ref) }, options) },
  jobs: {
    every: 500,
    read: (soma, { curve }, options) => soma.model.allJobs(curve === undefined ? {} : { curve }, options),
  },
  apps: { every: 2_000, read: (soma, _query, options) => soma.auth.apps({}, options) },
  traces: {
    every: 2_000,
    read: async (soma, _query, options) => {
      const calls: Chunk<"kernel.traces">["calls"] = [];
      for await (const chunk of soma.kernel.traces({ tail: TAIL }, options)) calls.push(...chunk.calls);
      return calls.reverse();
    },
  },
  trace: { every: 5_000, read: (soma, { id }, options) => soma.kernel.trace({ id: need("id", id) }, options) },
  audit: {
    every: 2_000,
    read: async (soma, { app, code }, options) => {
      const records: Chunk<"kernel.audit">["records"] = [];
      const wanted = { ...(app ? { app } : {}), ...(code ? { code } : {}) };
      for await (const chunk of soma.kernel.audit({ ...wanted, tail: TAIL }, options)) records.push(...chunk.records);
      return records.reverse();
    },
  },
};

/** The topic of that name, read by `soma`. ENOENT when there is none, EINVAL when the query lacks what it needs. */
export function topicOf(soma: Soma, name: string, query: Query): Topic {
  const entry = Object.hasOwn(TOPICS, name) ? TOPICS[name]! : undefined;
  if (entry === undefined) throw new SomaError("ENOENT", `there is no topic "${name}"`);
  return { every: entry.every, read: (signal) => entry.read(soma, query, { signal, ttl: 5_000 }) };
}

/** A service that is away must not empty a page about all of them. */
async function here<T, U>(answer: Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await answer;
  } catch (error) {
    if (isSomaError(error)) return otherwise;
    throw error;
  }
}

/** What an instance says of its actors; one that is down, hangs or is stopped is shown as that. */
async function inspect(
  soma: Soma,
  instance: string,
  options: CallOptions,
): Promise<{ id: string; actors: Inspected[]; problem?: string }> {
  const owner = serviceOf(instance) ?? "kernel";
  try {
    const where = owner === "kernel" ? {} : { instance };
    const { actors } = await soma[owner].inspect({}, { ...options, ...where, ttl: 1_000, retry: false });
    return { id: instance, actors };
  } catch (error) {
    if (isSomaError(error)) return { id: instance, actors: [], problem: error.message };
    throw error;
  }
}

function need(name: string, value: string | undefined): string {
  if (value === undefined) throw new SomaError("EINVAL", `say which: ?${name}=`);
  return value;
}
