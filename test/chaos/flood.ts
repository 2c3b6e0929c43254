// Owns a flood: requests made at a rate whatever comes of them, as cheaply as can be, since they are made on the cores that serve them.
// The messages are those of the client (kernel/ipc/client.ts), encoded once.
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encode } from "../../kernel/abi/codec.ts";
import { HEADERS } from "../../kernel/abi/headers.ts";
import { ABI } from "../../kernel/abi/limits.ts";
import { ANY, subjects } from "../../kernel/abi/subjects.ts";
import type { Bus, Message } from "../../kernel/ipc/bus.ts";
import { question, type Tally, TTL } from "./tally.ts";

const EVERY = 2;
/** Of a reply that does not come: the caller's own side would end it. */
const GRACE = 100;

/** So many requests a second for so long; resolves once each has its outcome, or is out of time. */
export async function flood(
  buses: readonly Bus[],
  tally: Tally,
  { rate, ms, instance = ANY }: { rate: number; ms: number; instance?: string },
): Promise<void> {
  if (rate === 0) return sleep(ms);
  const asked = new Map<string, number>();
  const run = Math.random().toString(36).slice(2, 10);
  const prefix = (bus: Bus) => `${subjects.inbox(bus.name)}.${run}.`;
  const listening = buses.map((bus) => bus.subscribe(`${prefix(bus)}*`, (message) => hear(message, asked, tally)));
  const body = encode(question(0));
  const began = performance.now();
  for (let sent = 0; performance.now() - began < ms; await sleep(EVERY))
    for (; sent < ((performance.now() - began) / 1_000) * rate; sent++) {
      const bus = buses[sent % buses.length]!;
      const id = `${run}${sent}`;
      const headers = { [HEADERS.id]: id, [HEADERS.key]: id, [HEADERS.abi]: String(ABI), [HEADERS.ttl]: String(TTL) };
      asked.set(id, performance.now());
      tally.asked += 1;
      bus.publish(subjects.call(bus.name, "model", instance, "generate"), body, headers, prefix(bus) + id);
    }
  for (const until = performance.now() + TTL + GRACE; asked.size > 0 && performance.now() < until; ) await sleep(10);
  for (const at of asked.values()) tally.note("ETIME", at);
  for (const subscription of listening) subscription.unsubscribe();
}

function hear(message: Message, asked: Map<string, number>, tally: Tally): void {
  const id = message.subject.slice(message.subject.lastIndexOf(".") + 1);
  const at = asked.get(id);
  const type = message.header(HEADERS.type);
  if (at === undefined || (message.status !== 503 && type !== "end" && type !== "error")) return;
  asked.delete(id);
  if (message.status === 503) return tally.note("ESERVICEDOWN", at);
  const said = decode(message.data) as { code: string; usage: { newTokens: number } };
  if (type === "error") tally.note(said.code, at);
  else tally.done(said.usage.newTokens, at);
}
