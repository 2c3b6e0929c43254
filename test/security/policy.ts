// Owns who may say and hear what on the bus, in words of its own: written from the design and the issues, not from kernel/abi/rights.ts, which it judges.
import { STORES, type Store } from "../../kernel/abi/storage.ts";
import { syscall } from "../../kernel/abi/syscalls.ts";

/** Who somebody is at the broker. `name` is the caller token of all that it says. */
export type Who =
  | { role: "kernel"; name: string }
  | { role: "person"; name: string }
  | { role: "boot"; name: string }
  | { role: "system"; name: string }
  | { role: "service"; name: string; service: string; epoch: number }
  | { role: "app"; name: string; granted: readonly string[] };

/** Whom each service has to ask to do its work. Whoever is not named here can be overloaded or fooled by it no more than by a stranger. */
const ASKS: Record<string, readonly string[]> = {
  auth: ["kernel", "memory"],
  memory: ["kernel", "device"],
  device: ["kernel", "memory", "scheduler"],
  scheduler: ["kernel", "auth", "memory", "device"],
  model: ["kernel", "auth", "memory", "device", "scheduler"],
};

/** Whom the door of a service lets in, by the least role that the table names. */
const DOOR: Record<string, readonly Who["role"][]> = {
  app: ["app", "person", "service", "kernel"],
  viewer: ["app", "person", "service", "kernel"],
  person: ["person", "service", "kernel"],
  service: ["service", "kernel"],
  boot: ["boot"],
  kernel: ["kernel"],
};

/**
 * Calls that show what others do, and what each discloses: an app may hold them, but only by a person's own word. What is not
 * here, and shows anything of others, is for persons: logs and events (whatever a program wrote), figures and metrics, `why`, namespaces,
 * and the context of actors.
 */
export const SHOWS: Record<string, string> = {
  "kernel.ps": "which apps run, since when, with how much memory; process ids",
  "kernel.trace": "where the time of anybody's call went: names, times and counts",
  "kernel.traces": "anybody's calls of which spans are kept: who, what, when, how long",
  "kernel.audit": "who called what, when and with which outcome; no input, no output",
  "auth.apps": "who holds which grants and how much of each budget is left; public keys",
  "memory.free": "which models fill which device",
  "scheduler.queue": "who has text made, by which model, of how many tokens",
  "scheduler.parts": "how a device is shared out, and how busy each part is",
  "scheduler.policy": "each app's share and how many tokens it had",
  "model.allJobs": "everybody's trainings: name, progress, losses, error",
  ...Object.fromEntries(
    ["kernel", "auth", "memory", "device", "scheduler", "model"].flatMap((owner) => [
      [
        `${owner}.inspect`,
        "statecharts, states and transitions of actors, with ids of requests; an app gets no context",
      ],
    ]),
  ),
};

/** On one's own requests only, at owners of which one may call anything. */
const OWN_REQUESTS = ["cancel", "credit", "chunk"];

/** Whether a service's door lets `who` in, provided that the broker let the message pass. */
export function mayEnter(who: Who, owner: string, call: string): boolean {
  const right = syscall(owner, call)?.right;
  return right !== undefined && DOOR[right]!.includes(who.role);
}

/** Whether the broker carries a message of `who` on `subject`. */
export function mayPublish(who: Who, subject: string): boolean {
  // The system account is another world: what is said there is heard in none of ours.
  if (who.role === "system") return false;
  if (who.role === "kernel") return true;
  const tokens = subject.split(".");
  const [kind, caller, owner = "", instance = "", call = ""] = tokens;
  if (kind === "sys") {
    if (caller !== who.name || tokens.length !== 5) return false;
    if (who.role === "boot") return `${owner}.${instance}.${call}` === "kernel.any.register";
    if (who.role === "service") return ASKS[who.service]!.includes(owner);
    const right = syscall(owner, call)?.right;
    if (who.role === "person") return right === "app" || right === "viewer" || right === "person";
    const some = who.granted.some((name) => name.startsWith(`${owner}.`));
    return who.granted.includes(`${owner}.${call}`) || (some && OWN_REQUESTS.includes(call));
  }
  if (who.role !== "service") return false;
  if (kind === "_INBOX") return tokens.length > 1;
  if (kind === "evt") return caller === who.name && tokens.length > 2;
  if (kind === "hb") return subject === `hb.${who.service}.${who.name}.${who.epoch}`;
  if (kind === "audit") return subject === `audit.${who.name}.${who.epoch}`;
  return mayUseStore(who.service, subject, tokens);
}

/** The stores: one writer, named readers, and nobody but the kernel makes, changes or deletes one. */
function mayUseStore(service: string, subject: string, tokens: string[]): boolean {
  for (const [name, store] of Object.entries(STORES) as [string, Store][]) {
    const writes = store.owner === service;
    if (!writes && !(store.readers as string[]).includes(service)) continue;
    const stream = { kv: `KV_${name}`, objects: `OBJ_${name}`, stream: name.toUpperCase() }[store.kind];
    const api = subject.startsWith("$JS.API.") ? subject.slice("$JS.API.".length) : undefined;
    const reads = [
      `STREAM.INFO.${stream}`,
      `STREAM.MSG.GET.${stream}`,
      `DIRECT.GET.${stream}`,
      `CONSUMER.CREATE.${stream}`,
    ];
    const below = [`DIRECT.GET.${stream}.`, `CONSUMER.CREATE.${stream}.`];
    const ofOne = ["CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT"].map((verb) => `${verb}.${stream}.`);
    if (api !== undefined && (reads.includes(api) || below.some((start) => api.startsWith(start)))) return true;
    if (api !== undefined && ofOne.some((start) => api.startsWith(start)) && !/\..*\./.test(api.split(stream)[1]!))
      return true;
    if ([`$JS.FC.${stream}.`, `$JS.ACK.${stream}.`].some((start) => subject.startsWith(start))) return true;
    if (!writes) continue;
    if (api === `STREAM.PURGE.${stream}` || api === `STREAM.MSG.DELETE.${stream}`) return true;
    if (store.kind === "kv" && tokens[0] === "$KV" && tokens[1] === name && tokens.length > 2) return true;
    if (store.kind === "objects" && tokens[0] === "$O" && tokens[1] === name && tokens.length > 2) return true;
    // Streams of a service have the subjects of its own work.
    if (service === "model" && name === "journal" && subject.startsWith("job.submit.")) return true;
  }
  return false;
}

/** Whether the broker lets `who` listen to `subject`, wildcards included: to all of it or to nothing. */
export function mayHear(who: Who, subject: string): boolean {
  if (who.role === "system") return false;
  if (who.role === "kernel") return true;
  const tokens = subject.split(".");
  const [kind, second = "", third = "", fourth = ""] = tokens;
  if (kind === "_INBOX") return second === who.name && tokens.length > 2;
  if (who.role === "boot") return false;
  if (who.role === "person") return (kind === "evt" || kind === "hb") && tokens.length > 1;
  if (who.role === "app") return subject.startsWith("evt.kernel.down.");
  if (kind === "sys") {
    // The broker takes a last ">" for a token that fits "*". No harm: longer subjects are nobody's to publish.
    const mine = third === who.service && ["any", "all", who.name].includes(fourth);
    return mine && tokens.length === 5 && second !== ">";
  }
  if (kind !== "evt") return false;
  // The scheduler learns of devices, and memory of what they hold, from their events.
  if (["scheduler", "memory"].includes(who.service) && third === "device" && tokens.length === 3 && second !== ">")
    return true;
  return second === "kernel" && tokens.length > 2;
}
