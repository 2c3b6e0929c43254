// Owns the broker permissions of each role, derived from the tables. Subjects not listed are denied.
import { instanceName, MOST_INSTANCES, type Owner, PERSON, SERVICES, type Service } from "./names.ts";
import { STORES, type StoreName, streamName } from "./storage.ts";
import { ALL, ANY, subjects } from "./subjects.ts";
import { isGrantable, MAY } from "./syscall.ts";
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
      subjects.audit(instance, epoch),
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

/** A launcher in a container of its own. Those of one service share a credential, and may do what the service may: run it. */
export function launcherPermissions(service: Service): Permissions {
  return { pub: [subjects.report(service, "*")], sub: [subjects.order(service, "*")] };
}

/** The person at the shell: everything that a person may call, and all events. */
export function personPermissions(name: string): Permissions {
  const calls = allSyscalls().filter(([, , entry]) => MAY[entry.right].includes("person"));
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

/** Calls that an app can ever hold, and those that it never can. */
const [FOR_APPS, NEVER] = [true, false].map((app) =>
  allSyscalls().filter(([, , entry]) => isGrantable(entry.right) === app),
) as [ReturnType<typeof allSyscalls>, ReturnType<typeof allSyscalls>];
const isControl = (call: string) => (CONTROL as readonly string[]).includes(call);
const APP_OWNERS = new Set(FOR_APPS.filter(([, call]) => !isControl(call)).map(([owner]) => owner));

/** Names that whoever holds the role's key must not mint: the system's own, as far as there can be instances. */
const ACTORS = [
  "kernel",
  PERSON,
  ...SERVICES.flatMap((service) => Array.from({ length: MOST_INSTANCES }, (_, i) => instanceName(service, i + 1))),
];

/**
 * What every user of the role "app" gets. `{{tag(model)}}` stands for each tag of `appTags` with that name. Auth holds this
 * role's signing key and nothing mightier. Whoever stole it could mint any name with any tags, "*" among them: what is
 * denied here keeps it from the system's own names and from every call that no app can hold.
 */
export const APP_ROLE = {
  permissions: {
    pub: {
      allow: [...APP_OWNERS].map((owner) => `sys.{{name()}}.${owner}.*.{{tag(${owner})}}`),
      deny: [
        ...NEVER.map(([owner, call]) => subjects.call("*", owner, "*", call)),
        ...ACTORS.map((name) => `sys.${name}.>`),
      ],
    },
    sub: {
      allow: ["_INBOX.{{name()}}.>", "evt.kernel.down.>"],
      // The second form, too, since the broker takes what is denied out of a wider subscription only if it lies within it.
      deny: ACTORS.flatMap((name) => [`${subjects.inbox(name)}.>`, `${subjects.inbox(name)}.*.*`]),
    },
  },
  subs: 64,
};

/** The tags of a user JWT that allow an app exactly `appPermissions(name, calls)` under APP_ROLE. */
export function appTags(calls: readonly string[]): string[] {
  const pairs = calls.map((call) => call.split(".") as [string, string]);
  const owners = new Set(pairs.map(([owner]) => owner));
  return [
    ...pairs.map(([owner, verb]) => `${owner}:${verb}`),
    ...[...owners].flatMap((owner) => CONTROL.map((verb) => `${owner}:${verb}`)),
  ];
}
