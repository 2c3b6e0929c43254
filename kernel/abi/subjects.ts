// Owns every NATS subject: built and parsed here, no subject literal elsewhere.
import type { Owner } from "./names.ts";

/** Instance tokens that are no instance: the queue group of a service, and every instance of it. */
export const ANY = "any";
export const ALL = "all";

export const subjects = {
  /** A syscall: always five tokens. */
  call: (caller: string, service: string, instance: string, call: string) =>
    `sys.${caller}.${service}.${instance}.${call}`,
  /** What an instance of a service listens to; `any` is subscribed as a queue group. */
  serve: (service: Owner, instance: string) => `sys.*.${service}.${instance}.*`,
  inbox: (caller: string) => `_INBOX.${caller}`,
  event: (actor: string, topic: string) => `evt.${actor}.${topic}`,
  /** One chain of the audit. */
  audit: (instance: string, epoch: number | "*") => `audit.${instance}.${epoch}`,
  /** What a launcher in a container of its own is told, and what it says. */
  order: (service: string, host: string) => `launch.${service}.${host}.order`,
  report: (service: string, host: string) => `launch.${service}.${host}.report`,
  heartbeat: (service: string, instance: string, epoch: number) => `hb.${service}.${instance}.${epoch}`,
  down: (service: string, instance: string, epoch: number) => `evt.kernel.down.${service}.${instance}.${epoch}`,
} as const;

export interface CallSubject {
  caller: string;
  service: string;
  instance: string;
  call: string;
}

/** Parses `sys.<caller>.<service>.<instance>.<call>`; undefined for anything else. */
export function parseCall(subject: string): CallSubject | undefined {
  const [sys, caller, service, instance, call, ...rest] = subject.split(".");
  if (sys !== "sys" || !caller || !service || !instance || !call || rest.length > 0) return undefined;
  return { caller, service, instance, call };
}

/** True if a reply to `caller` may go to `reply`: otherwise a caller could aim a service's answer at any subject. */
export function replyAllowed(caller: string, reply: string): boolean {
  return reply.startsWith(`_INBOX.${caller}.`) && !/[*>\s]/.test(reply) && !reply.endsWith(".");
}
