// Owns the table from memory's calls to its machine's events; what apps remember needs no machine and is answered directly.
import type { Actor } from "xstate";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Principal } from "../../kernel/abi/headers.ts";
import { roleOf, serviceOf } from "../../kernel/abi/names.ts";
import { DEFER, type Handlers } from "../../kernel/ipc/server.ts";
import type { Blobs } from "./blobs.ts";
import { show } from "./budget.ts";
import type { memoryMachine } from "./machine.ts";
import type { Rows } from "./rows/rows.ts";
import type { Values } from "./values.ts";

interface Asker {
  caller: string;
  principal: Principal;
}

/** Whose namespace: the app's, and one for all instances of a service. */
export function ownerOf({ principal: { principal } }: Pick<Asker, "principal">): string {
  return serviceOf(principal) ?? principal;
}

/** The namespace asked for. Only persons and services may name another than their own. */
export function namespaceOf(asker: Asker, namespace?: string): string {
  const own = ownerOf(asker);
  if (namespace === undefined || namespace === own || roleOf(asker.caller) !== "app") return namespace ?? own;
  throw new SomaError("EPERM", `"${own}" may use its own namespace only: leave "namespace" out`);
}

export function calls(
  machine: Pick<Actor<typeof memoryMachine>, "send" | "getSnapshot">,
  values: Values,
  blobs: Blobs,
  rows: Rows,
): Handlers<"memory"> {
  return {
    reserve: (input, { mid }) => {
      machine.send({ type: "reserve", mid, input });
      return DEFER;
    },
    release: (input, { mid }) => {
      machine.send({ type: "release", mid, input });
      return DEFER;
    },
    free: () => ({ devices: show(machine.getSnapshot().context.budgets) }),
    get: ({ key, namespace }, request) => values.get(namespaceOf(request, namespace), key),
    put: async ({ key, value, namespace, revision }, request) => ({
      revision: await values.put(namespaceOf(request, namespace), key, value, revision),
    }),
    del: async ({ key, namespace }, request) => {
      await values.del(namespaceOf(request, namespace), key);
      return {};
    },
    keys: ({ prefix, namespace }, request) => ({ keys: values.keys(namespaceOf(request, namespace), prefix) }),
    index: ({ collection, rows: given, namespace }, request) =>
      rows.index(namespaceOf(request, namespace), collection, given),
    unindex: async ({ collection, ids, namespace }, request) => ({
      deleted: await rows.unindex(namespaceOf(request, namespace), collection, ids),
    }),
    search: ({ collection, namespace, ...query }, request) =>
      rows.search(namespaceOf(request, namespace), collection, query),
    collections: ({ namespace }, request) => ({ collections: rows.collections(namespaceOf(request, namespace)) }),
    namespaces: () => ({ namespaces: namespaces(values, blobs, rows) }),
    wipe: async ({ namespace }) => ({
      deleted: (await values.wipe(namespace)) + (await blobs.wipe(namespace)) + (await rows.wipe(namespace)),
    }),
    write: ({ size }, request) => blobs.write(ownerOf(request), request.received(), size),
    read: async ({ blob }, request) => {
      const { size, pieces } = blobs.read(ownerOf(request), blob, roleOf(request.caller) === "service");
      for await (const data of pieces) {
        if (request.signal.aborted) throw new SomaError("ECANCELED", "the reading was broken off");
        await request.emit({ data });
      }
      return { size };
    },
    share: async ({ blob, reader }, request) => {
      await blobs.share(ownerOf(request), blob, reader);
      return {};
    },
    drop: async ({ blob }, request) => {
      await blobs.drop(ownerOf(request), blob);
      return {};
    },
  };
}

function namespaces(values: Values, blobs: Blobs, rows: Rows) {
  const [usage, held, indexed] = [values.usage(), blobs.usage(), rows.usage()];
  return [...new Set([...usage.keys(), ...held.keys(), ...indexed.keys()])].sort().map((namespace) => {
    const { keys, bytes } = usage.get(namespace) ?? { keys: 0, bytes: 0 };
    const found = indexed.get(namespace) ?? { rows: 0, bytes: 0 };
    return { namespace, keys, rows: found.rows, bytes: bytes + (held.get(namespace) ?? 0) + found.bytes };
  });
}
