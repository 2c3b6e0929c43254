// Owns finding out that a caller is gone: the broker says at once when nobody listens to a reply.
import { randomBytes } from "node:crypto";
import { encode } from "../abi/codec.ts";
import { HEADERS } from "../abi/headers.ts";
import { subjects } from "../abi/subjects.ts";
import type { Bus } from "./bus.ts";
import type { Request } from "./request.ts";

/** Requests younger than this end or expire soon anyway; older ones are looked after this often. */
const EVERY = 5_000;

export interface CallersOptions {
  instance: string;
  epoch: number;
  running: () => Request[];
  gone: (request: Request) => void;
}

/** Says `accepted` once more to callers of long requests, which changes nothing for those that are there. */
export function watchCallers(bus: Bus, { instance, epoch, running, gone }: CallersOptions): () => void {
  const prefix = `${subjects.inbox(bus.name)}.${randomBytes(6).toString("hex")}`;
  let asked: Request[] = [];
  const listening = bus.subscribe(`${prefix}.*`, (message) => {
    const request = asked[Number(message.subject.slice(prefix.length + 1))];
    if (message.status === 503 && request !== undefined && !request.done) gone(request);
  });
  const timer = setInterval(() => {
    if (!bus.connected) return;
    const old = performance.now() - EVERY;
    asked = running().filter(({ accepted, reply, startedAt }) => accepted && reply !== "" && startedAt < old);
    const headers = { [HEADERS.type]: "accepted", [HEADERS.epoch]: String(epoch) };
    for (const [i, { reply }] of asked.entries()) {
      bus.publish(reply, encode({ instance, epoch }), headers, `${prefix}.${i}`);
    }
  }, EVERY).unref();
  return () => {
    clearInterval(timer);
    listening.unsubscribe();
  };
}
