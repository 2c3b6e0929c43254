// Owns the broker permissions of each role, derived from the tables. Subjects not listed are denied.
import type { Owner, Service } from "./names.ts";
import { STORES, type StoreName, streamName } from "./storage.ts";
import { ALL, ANY, subjects } from "./subjects.ts";
import { allSyscalls, CONTROL } from "./syscalls.ts";

export interface Permissions {
  pub: string[];
  sub: string[];
}

/** JetStream subjects that a reader (and, beyond them, the writer) of a store needs. */
function storeRights(store: StoreName, write: boolean): string[] {
  const { kind } = STORES[store];
  const stream = streamName(store);
  const data = kind === "kv" ? `$KV.${store}.>` : kind === "objects" ? `$O.${store}.>` : undefined;
  const read = [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.CONSUMER.CREATE.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
    `$JS.API.CONSUMER.INFO.${stream}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
    `$JS.FC.${stream}.>`,
    `$JS.ACK.${stream}.>`,
  ];
  if (!write) return read;
  const own = "subjects" in STORES[store] ? (STORES[store] as { subjects: readonly string[] }).subjects : [];
  return [
    ...read,
    `$JS.API.STREAM.PURGE.${stream}`,
    `$JS.API.STREAM.MSG.DELETE.${stream}`,
    ...(data ? [data] : []),
    ...own,
  ];
}

function stores(owner: Owner): string[] {
  return (Object.keys(STORES) as StoreName[]).flatMap((store) => {
    const { owner: writer, readers } = STORES[store] as { owner: Owner; readers: readonly Owner[] };
    return writer === owner ? storeRights(store, true) : readers.includes(owner) ? storeRights(store, false) : [];
  });
}

/** Which services each service calls. The kernel calls all. */
export const CALLS: Record<Service, readonly Owner[]> = {
  auth: ["kernel", "memory"],
  memory: ["kernel", "device"],
  device: ["kernel", "memory", "scheduler"],
  scheduler: ["kernel", "auth", "memory", "device"],
  model: ["kernel", "auth", "memory", "device", "scheduler"],
};

/** One instance of a service, in one epoch. */
export function servicePermissions(service: Service, instance: string, epoch: number): Permissions {
  return {
    pub: [
      ...CALLS[service].map((owner) => `sys.${instance}.${owner}.*.*`),
      "_INBOX.>",
      `evt.${instance}.>`,
      subjects.heartbeat(service, instance, epoch),
      `audit.${instance}.${epoch}`,
      ...stores(service),
    ],
    sub: [
      ...[ANY, instance, ALL].map((name) => subjects.serve(service, name)),
      `_INBOX.${instance}.>`,
      "evt.kernel.>",
      // The scheduler learns of devices, and memory of what they hold, from their events.
      ...(service === "scheduler" || service === "memory" ? ["evt.*.device"] : []),
    ],
  };
}

/** A child that has not registered yet. */
export function bootPermissions(name: string): Permissions {
  return { pub: [subjects.call(name, "kernel", ANY, "register")], sub: [`_INBOX.${name}.>`] };
}

/** The person at the shell: everything that a person may call, and all events. */
export function personPermissions(name: string): Permissions {
  const calls = allSyscalls().filter(([, , entry]) => entry.right === "app" || entry.right === "person");
  return {
    pub: calls.map(([owner, call]) => subjects.call(name, owner, "*", call)),
    sub: [`_INBOX.${name}.>`, "evt.>", "hb.>"],
  };
}

/** An app: the calls of its grant, control of its own requests, its inbox, and DOWN events. */
export function appPermissions(name: string, calls: readonly string[]): Permissions {
  const owners = new Set(calls.map((call) => call.split(".")[0]!));
  return {
    pub: [
      ...calls.map((call) => {
        const [owner, verb] = call.split(".") as [string, string];
        return subjects.call(name, owner, "*", verb);
      }),
      ...[...owners].flatMap((owner) => CONTROL.map((verb) => subjects.call(name, owner, "*", verb))),
    ],
    sub: [`_INBOX.${name}.>`, "evt.kernel.down.>"],
  };
}

/**
 * What every user of the role "app" gets: auth holds that role's signing key and nothing mightier, so that a stolen one
 * mints apps only. `{{tag(call)}}` stands for each tag of `appTags`.
 */
export const APP_ROLE = {
  permissions: {
    pub: { allow: ["sys.{{name()}}.{{tag(call)}}"] },
    sub: { allow: ["_INBOX.{{name()}}.>", "evt.kernel.down.>"] },
  },
  subs: 64,
} as const;

/** The tags of a user JWT that allow an app exactly `appPermissions(name, calls)` under APP_ROLE. */
export function appTags(calls: readonly string[]): string[] {
  return appPermissions("app", calls).pub.map((subject) => `call:${subject.slice("sys.app.".length)}`);
}
