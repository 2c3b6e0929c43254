// Owns the check of the whole audit: every chain against its own hashes, its signed head, and how its epoch ended.
import type { z } from "zod";
import { STORES } from "./abi/storage.ts";
import type { auditChain } from "./abi/syscalls/kernel.ts";
import type { Output } from "./abi/syscalls.ts";
import { chainOf } from "./audit.ts";
import type { NatsBus } from "./ipc/bus.ts";
import {
  type Batch,
  check,
  genesis,
  type Head,
  hashOf,
  type Record,
  readBatch,
  sameHash,
  unpack,
} from "./ipc/chain.ts";
import { type HeadRecord, readHead, type SignedHead } from "./ipc/heads.ts";
import { Kv, readStream } from "./ipc/store.ts";
import { storeUsage } from "./ipc/stores.ts";

/** Auth signs every few seconds; a chain that long without any signature is suspicious. */
const SIGNED_WITHIN = 60_000;
/** From this share of its limit on, the stream may have dropped its oldest messages for room. */
const FULL = 0.9;
/** Findings told of one chain; further ones are counted. */
const TOLD = 50;

type Chain = z.output<typeof auditChain>;
type What = Chain["findings"][number]["what"];
/** What an honest system shows, too: ends of epochs, age, an overfull queue. All else says that somebody changed something. */
const HONEST: ReadonlySet<What> = new Set(["gap", "expired", "lost"]);

interface Walk {
  head: Head;
  first: Batch | undefined;
  end: Record | undefined;
  chain: Chain;
}

export interface VerifyOptions {
  bus: NatsBus;
  /** Auth's public key. */
  key: string;
  /** Whether this instance runs in this epoch right now. */
  runs: (actor: string, epoch: number) => boolean;
  now?: () => number;
}

/** Reads the whole stream; gives each chain as it stands, and how many records and faults there are in all. */
export async function verifyAudit(
  { bus, key, runs, now = Date.now }: VerifyOptions,
  signal?: AbortSignal,
): Promise<{ chains: Chain[]; totals: Output<"kernel.verify"> }> {
  // Before the stream, so that whatever was signed must be there to read.
  const signed = new Map<string, SignedHead | undefined>();
  for (const { key: chain, value } of await (await Kv.open<HeadRecord>(bus, "heads")).entries())
    signed.set(chain, readHead(key, chain, value));
  const usage = (await storeUsage(bus)).find(({ name }) => name === "audit")!;
  /** Whether the stream's limits alone may have removed what was recorded at this time. */
  const mayBeDropped = (at: number) =>
    usage.bytes >= STORES.audit.maxBytes * FULL || at < now() - STORES.audit.maxAgeMs;
  const walks = new Map<string, Walk>();
  for (const [chain, head] of signed) {
    const walk = begin(walks, chain);
    if (head === undefined) report(walk, "forged", 0, 0, "its head in the bucket was not signed by auth");
  }
  for await (const entry of readStream(bus, "audit", signal === undefined ? {} : { signal })) {
    const walk = walks.get(entry.subject) ?? begin(walks, entry.subject);
    step(walk, readBatch(entry.value), signed.get(entry.subject), mayBeDropped);
  }
  for (const walk of walks.values()) {
    const { actor, epoch } = walk.chain;
    finish(walk, signed.get(walk.chain.chain), runs(actor, epoch), mayBeDropped, now());
  }
  const chains = [...walks.values()].map(({ chain }) => chain);
  const sum = (of: (chain: Chain) => number) => chains.reduce((total, chain) => total + of(chain), 0);
  return {
    chains,
    totals: { chains: chains.length, records: sum((chain) => chain.records), faults: sum((chain) => chain.faults) },
  };
}

function begin(walks: Map<string, Walk>, subject: string): Walk {
  const chain: Chain = {
    ...{ chain: subject, ...chainOf(subject), records: 0, last: 0, hash: "", signed: 0 },
    ...{ state: "ended", faults: 0, findings: [] },
  };
  const walk = { head: genesis(subject), first: undefined, end: undefined, chain };
  walks.set(subject, walk);
  return walk;
}

function report({ chain }: Walk, what: What, first: number, last: number, text: string): void {
  if (!HONEST.has(what)) chain.faults += 1;
  if (chain.findings.length < TOLD) chain.findings.push({ what, first, last, text });
}

const TEXT = {
  changed: "was changed",
  missing: "missing",
  reordered: "not in its place",
  unreadable: "not readable",
} as const;

function step(
  walk: Walk,
  batch: Batch | undefined,
  signed: SignedHead | undefined,
  mayBeDropped: (at: number) => boolean,
): void {
  const next = walk.head.seq + 1;
  if (batch === undefined) return report(walk, "unreadable", next, next, `what follows record ${next - 1} is no batch`);
  if (walk.first === undefined && batch.first > 1) {
    const gone = batch.first - 1;
    const began = signed?.began ?? 0;
    if (mayBeDropped(began)) report(walk, "expired", 1, gone, "older than the stream keeps");
    else report(walk, "missing", 1, gone, "missing though the stream would keep them");
    walk.head = { seq: gone, hash: batch.prev };
  }
  walk.first ??= batch;
  const { head, faults } = check(walk.head, batch);
  for (const { what, first, last } of faults) report(walk, what, first, last, TEXT[what]);
  if (head === walk.head) return;
  const given = signed && hashOf(batch, signed.seq);
  if (given !== undefined && !sameHash(given, Buffer.from(signed!.hash, "base64url")))
    report(walk, "changed", batch.first, signed!.seq, "not what auth signed: this or an earlier record was changed");
  for (const row of batch.rows) {
    const record = unpack(row);
    if (record?.what === "lost")
      report(walk, "lost", record.seq, record.seq, `${record.times} records found no room while the broker was away`);
  }
  walk.head = head;
  walk.end = unpack(batch.rows.at(-1)!);
  walk.chain.records += batch.rows.length;
}

function finish(
  walk: Walk,
  signed: SignedHead | undefined,
  running: boolean,
  mayBeDropped: (at: number) => boolean,
  now: number,
): void {
  const { chain, head, end } = walk;
  chain.last = head.seq;
  chain.hash = Buffer.from(head.hash).toString("base64url");
  chain.signed = signed?.seq ?? 0;
  chain.state = end?.what === "close" ? "closed" : running ? "running" : "ended";
  if (signed !== undefined && head.seq < signed.seq) {
    if (walk.first === undefined && mayBeDropped(signed.at))
      return report(walk, "expired", 1, signed.seq, "older than the stream keeps");
    return report(walk, "truncated", head.seq + 1, signed.seq, "signed by auth, and missing at the end");
  }
  if (end === undefined) return;
  if (signed === undefined && end.at < now - SIGNED_WITHIN)
    report(walk, "unsigned", 1, head.seq, `no signed head: does auth run ("soma ps"), or was it removed?`);
  if (chain.state === "ended")
    report(
      walk,
      "gap",
      head.seq,
      head.seq,
      "the epoch ended without a closing record: its last moments may be missing",
    );
}
