// Owns reading traces back from the stream `spans`: one whole, or the calls that have one.
import { SomaError } from "./abi/errors.ts";
import type { Input, Output } from "./abi/syscalls.ts";
import type { NatsBus } from "./ipc/bus.ts";
import type { Request } from "./ipc/request.ts";
import { readStream, type StreamEntry } from "./ipc/store.ts";
import type { Span } from "./ipc/trace.ts";

/** Batches to look through for one trace: first the newest, then all there are. */
const NEWEST = 400;
/** Batches that are looked through for each call that is asked for. */
const DEPTH = 20;
/** Spans of one answer: a reply is bounded. */
const MOST = 1_500;

const spansOf = ({ value }: StreamEntry): Span[] => (Array.isArray(value) ? (value as Span[]) : []);

/** `id`: of the call, as logs, the audit and `sched` show it, also as `<caller>/<id>`; or of the trace. ENOENT when there is none. */
export async function readTrace(bus: NatsBus, id: string, signal: AbortSignal): Promise<Output<"kernel.trace">> {
  const short = id.slice(id.lastIndexOf("/") + 1);
  for (const tail of [NEWEST, undefined]) {
    const all: Span[] = [];
    for await (const entry of readStream(bus, "spans", { ...(tail ? { tail } : {}), signal }))
      all.push(...spansOf(entry));
    const trace = all.findLast((span) => span.id === short || span.trace === id)?.trace;
    if (trace === undefined) continue;
    const spans = all.filter((span) => span.trace === trace).sort((a, b) => a.at - b.at);
    return { trace, spans: spans.slice(0, MOST) };
  }
  throw new SomaError("ENOENT", `no trace of "${id}": it was not sampled, or is too old; see "soma trace ls"`);
}

/** The last `tail` calls that came from outside of the system, oldest first, and, to follow, those that come. */
export async function readTraces(
  bus: NatsBus,
  { call, failed, overMs, tail, follow }: Required<Omit<Input<"kernel.traces">, "call">> & { call?: string },
  request: Request,
): Promise<Output<"kernel.traces">> {
  const { signal } = request;
  const keep = ({ name, parent, code, ms }: Span) =>
    code !== undefined &&
    (call === undefined ? parent === "" : name === call || name.startsWith(`${call}.`)) &&
    (!failed || code !== "OK") &&
    ms >= overMs;
  let count = 0;
  const emit = async (calls: Span[]) => {
    if (calls.length > 0) await request.emit({ calls });
    count += calls.length;
  };
  let last = 0;
  if (tail > 0) {
    let kept: Span[] = [];
    for await (const entry of readStream(bus, "spans", { tail: tail * DEPTH, signal })) {
      last = entry.seq;
      kept.push(...spansOf(entry).filter(keep));
      if (kept.length > 2 * tail) kept = kept.slice(-tail);
    }
    kept = kept.slice(-tail);
    while (kept.length > 0) await emit(kept.splice(0, 200));
  }
  if (!follow) return { calls: count };
  const after = last === 0 ? { tail: 0 } : { after: last };
  for await (const entry of readStream(bus, "spans", { ...after, follow, signal }))
    await emit(spansOf(entry).filter(keep));
  return { calls: count };
}
