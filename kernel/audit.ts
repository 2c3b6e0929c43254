// Owns reading the audit: its records, newest or since a time, and those that come.
import { subjects } from "./abi/subjects.ts";
import type { Input, Output } from "./abi/syscalls.ts";
import type { NatsBus } from "./ipc/bus.ts";
import { type Record, readBatch, unpack } from "./ipc/chain.ts";
import type { Request } from "./ipc/request.ts";
import { readStream, type StreamEntry } from "./ipc/store.ts";

/** Records of one chunk at most. */
const CHUNK = 200;
/** Without a time, records are looked for in so many batches for each that is asked for, as far as they are filtered. */
const DEPTH = 20;

export type Shown = Record & { actor: string; epoch: number };

/** `audit.<instance>.<epoch>` as what a person reads. */
export function chainOf(subject: string): { actor: string; epoch: number } {
  const [, actor = "", epoch] = subject.split(".");
  return { actor, epoch: Number(epoch) };
}

/** The last `tail` records that match, oldest first, and, to follow, those that come. */
export async function readAudit(
  bus: NatsBus,
  input: Required<Pick<Input<"kernel.audit">, "tail" | "follow">> & Input<"kernel.audit">,
  request: Request,
): Promise<Output<"kernel.audit">> {
  const { app, call, code, actor, since, tail, follow } = input;
  const keep = (record: Record) =>
    (since === undefined || record.at >= since) &&
    (app === undefined || (record.what === "call" && (record.principal === app || record.caller === app))) &&
    (call === undefined || (record.what === "call" && matches(call, record.call))) &&
    (code === undefined || (record.what === "call" && record.code === code));
  const filtered = app !== undefined || call !== undefined || code !== undefined;
  const where = actor === undefined ? {} : { subject: subjects.audit(actor, "*") };
  let count = 0;
  const emit = async (records: Shown[]) => {
    for (let at = 0; at < records.length; at += CHUNK) await request.emit({ records: records.slice(at, at + CHUNK) });
    count += records.length;
  };
  let last = 0;
  let kept: Shown[] = [];
  if (tail > 0) {
    const from = since === undefined ? { tail: tail * (filtered ? DEPTH : 1) } : { since };
    for await (const entry of readStream(bus, "audit", { ...where, ...from, signal: request.signal })) {
      last = entry.seq;
      kept.push(...recordsOf(entry).filter(keep));
      if (kept.length > 2 * tail) kept = kept.slice(-tail);
    }
    await emit(kept.slice(-tail));
  }
  if (!follow) return { records: count };
  const after = last === 0 ? { tail: 0 } : { after: last };
  for await (const entry of readStream(bus, "audit", { ...where, ...after, follow, signal: request.signal }))
    await emit(recordsOf(entry).filter(keep));
  return { records: count };
}

/** `model` means every call of it. */
const matches = (wanted: string, call: string) => call === wanted || call.startsWith(`${wanted}.`);

/** What cannot be read is for `verify` to tell. */
function recordsOf({ subject, value }: StreamEntry): Shown[] {
  const chain = chainOf(subject);
  return (readBatch(value)?.rows ?? []).flatMap((row) => {
    const record = unpack(row);
    return record === undefined ? [] : [{ ...record, ...chain }];
  });
}
