// Owns reading back what was logged and what happened: the streams `log` and `events`, old lines and new.
import type { z } from "zod";
import { subjects } from "./abi/subjects.ts";
import type { logLine } from "./abi/syscalls/kernel.ts";
import type { Output } from "./abi/syscalls.ts";
import type { NatsBus } from "./ipc/bus.ts";
import type { Request } from "./ipc/request.ts";
import { readStream, type StreamEntry } from "./ipc/store.ts";

type Line = z.output<typeof logLine>;

/** Least to most urgent; a level asks for itself and what is more urgent. */
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
/** Entries of one chunk at most; a line is a few hundred bytes. */
const BATCH = 100;
/** A level is looked for in so many lines for each that is asked for. */
const DEPTH = 20;

interface Query {
  store: "log" | "events";
  subject?: string;
  tail: number;
  follow: boolean;
  keep: (entry: StreamEntry) => boolean;
  /** How many entries to look at for `tail` that are kept. */
  depth: number;
}

/** The last `tail` entries that match, oldest first, and, to follow, those that come; in batches. */
async function* history(bus: NatsBus, query: Query, signal: AbortSignal): AsyncGenerator<StreamEntry[]> {
  const { store, subject, tail, follow, keep, depth } = query;
  const where = subject === undefined ? {} : { subject };
  let last = 0;
  let kept: StreamEntry[] = [];
  if (tail > 0) {
    for await (const entry of readStream(bus, store, { ...where, tail: tail * depth, signal })) {
      last = entry.seq;
      if (keep(entry)) kept.push(entry);
      if (kept.length > 2 * tail) kept = kept.slice(-tail);
    }
    kept = kept.slice(-tail);
    while (kept.length > 0) yield kept.splice(0, BATCH);
  }
  if (!follow) return;
  const after = last === 0 ? { tail: 0 } : { after: last };
  for await (const entry of readStream(bus, store, { ...where, ...after, follow, signal })) {
    if (keep(entry)) yield [entry];
  }
}

export async function readLog(
  bus: NatsBus,
  input: { actor?: string; level?: string; tail: number; follow: boolean },
  request: Request,
): Promise<Output<"kernel.log">> {
  const { actor, level, tail, follow } = input;
  const least = level === undefined ? 0 : LEVELS.indexOf(level);
  const query: Query = {
    store: "log",
    ...(actor === undefined ? {} : { subject: subjects.event(actor, "log") }),
    tail,
    follow,
    keep: ({ value }) => LEVELS.indexOf((value as Line).level) >= least,
    depth: least > 0 ? DEPTH : 1,
  };
  let count = 0;
  for await (const entries of history(bus, query, request.signal)) {
    count += entries.length;
    await request.emit({ lines: entries.map(({ value }) => value as Line) });
  }
  return { lines: count };
}

export async function readEvents(
  bus: NatsBus,
  input: { tail: number; follow: boolean },
  request: Request,
): Promise<Output<"kernel.events">> {
  const query: Query = { store: "events", ...input, keep: () => true, depth: 1 };
  let count = 0;
  for await (const entries of history(bus, query, request.signal)) {
    count += entries.length;
    await request.emit({ events: entries.map(({ at, subject, value }) => ({ at, subject, body: value })) });
  }
  return { events: count };
}
