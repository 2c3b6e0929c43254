// Owns the subjects that the matrix tries, generated from the contract: a new syscall or store is in it by itself.
import { SERVICES } from "../../kernel/abi/names.ts";
import { STORES, type StoreName, streamName } from "../../kernel/abi/storage.ts";
import { allSyscalls } from "../../kernel/abi/syscalls.ts";

const OWNERS = ["kernel", ...SERVICES];
const instancesOf = (owner: string) => ["any", "all", owner === "kernel" ? "kernel" : `${owner}-1`];

/** Every call, to every kind of instance, in the name of each of `callers`. */
export function callSubjects(callers: readonly string[]): string[] {
  return callers.flatMap((caller) =>
    allSyscalls().flatMap(([owner, call]) =>
      instancesOf(owner).map((instance) => `sys.${caller}.${owner}.${instance}.${call}`),
    ),
  );
}

/** JetStream's own subjects for one store: to read, to write and to rule it. */
function storeSubjects(store: StoreName): string[] {
  const stream = streamName(store);
  const { kind } = STORES[store];
  const data =
    kind === "kv"
      ? [`$KV.${store}.key`]
      : kind === "objects"
        ? [`$O.${store}.C.x`, `$O.${store}.M.x`]
        : (STORES[store] as { subjects: readonly string[] }).subjects.map((one) => one.replace(/[*>]/g, "x"));
  const stream_ = ["INFO", "MSG.GET", "PURGE", "MSG.DELETE", "UPDATE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN"];
  const consumer = ["DELETE", "INFO", "MSG.NEXT", "DURABLE.CREATE", "LEADER.STEPDOWN"];
  return [
    ...data,
    ...stream_.map((verb) => `$JS.API.STREAM.${verb}.${stream}`),
    ...consumer.map((verb) => `$JS.API.CONSUMER.${verb}.${stream}.reader`),
    `$JS.API.CONSUMER.CREATE.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.reader.filter`,
    `$JS.API.CONSUMER.NAMES.${stream}`,
    `$JS.API.CONSUMER.LIST.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.a.b`,
    `$JS.FC.${stream}.reader.x`,
    `$JS.ACK.${stream}.reader.1.1.1.1.1`,
  ];
}

/** All that can be published besides calls. `names` are actors, own and foreign. */
export function otherSubjects(names: readonly string[]): string[] {
  return [
    ...names.flatMap((name) => [
      `_INBOX.${name}`,
      `_INBOX.${name}.x`,
      `_INBOX.${name}.x.y`,
      ...["log", "device", "transition", "down.device.device-1.1", "life.device-1"].map(
        (topic) => `evt.${name}.${topic}`,
      ),
      ...SERVICES.flatMap((service) => [1, 7, 8].map((epoch) => `hb.${service}.${name}.${epoch}`)),
      ...[1, 7, 8].map((epoch) => `audit.${name}.${epoch}`),
      // Calls that are none: unknown, too short, too long.
      ...OWNERS.flatMap((owner) => [
        `sys.${name}.${owner}`,
        `sys.${name}.${owner}.any`,
        `sys.${name}.${owner}.any.nothing`,
        `sys.${name}.${owner}.any.get.x`,
      ]),
    ]),
    ...(Object.keys(STORES) as StoreName[]).flatMap(storeSubjects),
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.NEW",
    "$JS.API.ACCOUNT.PURGE.SOMA",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.CLAIMS.DELETE",
    "$SYS.REQ.SERVER.PING",
    "$SRV.PING",
    "_R_.x",
    "anything",
    "x.y.z",
  ];
}

/** What can be listened to: all of the above, and what is wider. */
export function heardSubjects(names: readonly string[]): string[] {
  const wide = [
    ">",
    "*",
    "*.>",
    "*.*.*",
    "sys.>",
    "sys.*.*.*.*",
    "evt.>",
    "evt.*.>",
    "evt.kernel.>",
    "evt.kernel.down.>",
    "evt.kernel.down.*.*.*",
    "evt.kernel.*.>",
    "evt.*.device",
    "evt.>.device",
    "hb.>",
    "hb.*.*.*",
    "audit.>",
    "_INBOX.>",
    "_INBOX.*",
    "_INBOX.*.>",
    "_INBOX.*.*",
    "$KV.>",
    "$O.>",
    "$JS.>",
    "$JS.API.>",
    "$SYS.>",
    "job.>",
  ];
  const doors = OWNERS.flatMap((owner) =>
    [...instancesOf(owner), `${owner}-2`, "*"].flatMap((instance) => [
      `sys.*.${owner}.${instance}.*`,
      `sys.*.${owner}.${instance}.>`,
      `sys.>.${owner}.${instance}`,
    ]),
  );
  return [
    ...wide,
    ...doors,
    ...names.flatMap((name) => [`_INBOX.${name}.>`, `_INBOX.${name}.*`, `evt.${name}.>`, `evt.${name}.*`]),
    ...callSubjects(names.slice(0, 2)),
    ...otherSubjects(names),
  ].filter((subject) => !/>\./.test(subject));
}
