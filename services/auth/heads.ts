// Owns the signing of the audit's heads: reads what is new, checks that each chain goes on from what was signed, signs its new end.
import { check, type Fault, genesis, type Head, readBatch, unpack } from "../../kernel/ipc/chain.ts";
import { type HeadRecord, readHead, type SignedHead, signHead } from "../../kernel/ipc/heads.ts";
import type { KeyPair } from "../../kernel/ipc/nkey.ts";
import type { Bucket, StreamEntry } from "../../kernel/ipc/store.ts";

interface Chain {
  head: Head;
  began: number;
  at: number;
  stream: number;
  /** Not signed any more: its last signed head stays as the proof. */
  broken: boolean;
}

export interface HeadsOptions {
  kv: Bucket<HeadRecord>;
  key: Pick<KeyPair, "publicKey" | "sign">;
  /** The audit's messages after that one of the stream, up to now. */
  read: (after: number) => AsyncIterable<StreamEntry>;
  /** Told once of each chain that does not go on from what was signed. */
  warn: (chain: string, faults: Fault[]) => void;
}

export class Heads {
  private readonly chains = new Map<string, Chain>();
  /** Messages up to this one were read. */
  private seen = 0;

  private constructor(private readonly options: HeadsOptions) {}

  static async open(options: HeadsOptions): Promise<Heads> {
    const heads = new Heads(options);
    for (const { key: chain, value } of await options.kv.entries()) {
      const signed = readHead(options.key.publicKey, chain, value);
      // A forged one counts as none; `soma audit verify` names it.
      if (signed === undefined) continue;
      const { seq, hash, began, at, stream } = signed;
      heads.chains.set(chain, {
        ...{ head: { seq, hash: Buffer.from(hash, "base64url") }, began, at, stream },
        broken: false,
      });
      heads.seen = Math.max(heads.seen, stream);
    }
    return heads;
  }

  get size(): number {
    return this.chains.size;
  }

  /** Reads on and signs what is new. A failure of the broker is thrown; the next round does what this one did not. */
  async round(): Promise<void> {
    const grown = new Set<string>();
    for await (const entry of this.options.read(this.seen)) {
      if (this.take(entry)) grown.add(entry.subject);
      this.seen = entry.seq;
    }
    await this.sign(grown);
  }

  /** Chains whose head could not be stored in an earlier round. */
  private readonly unsigned = new Set<string>();

  private async sign(grown: Set<string>): Promise<void> {
    for (const chain of grown) this.unsigned.add(chain);
    // In the stream's order, so that whoever starts from the furthest signed head has missed none.
    const due = [...this.unsigned].sort((a, b) => this.chains.get(a)!.stream - this.chains.get(b)!.stream);
    for (const chain of due) {
      const { head, began, at, stream } = this.chains.get(chain)!;
      const signed: SignedHead = {
        ...{ chain, seq: head.seq, hash: Buffer.from(head.hash).toString("base64url") },
        ...{ began, at, stream },
      };
      await this.options.kv.put(
        chain,
        signHead(signed, (bytes) => this.options.key.sign(bytes)),
      );
      this.unsigned.delete(chain);
    }
  }

  /** True if the chain has a new end to sign. */
  private take({ subject, seq: stream, value }: StreamEntry): boolean {
    const known = this.chains.get(subject);
    if (known?.broken) return false;
    const batch = readBatch(value);
    const first = batch && unpack(batch.rows[0]!);
    const last = batch && unpack(batch.rows.at(-1)!);
    if (batch === undefined || first === undefined || last === undefined) {
      const { seq } = known?.head ?? genesis(subject);
      return this.broke(subject, known, [{ what: "unreadable", first: seq + 1, last: seq + 1 }]);
    }
    // Unknown and not from its first record: what came before has aged out of the stream.
    const from = known?.head ?? (batch.first === 1 ? genesis(subject) : { seq: batch.first - 1, hash: batch.prev });
    const { head, faults } = check(from, batch);
    if (faults.length > 0) return this.broke(subject, known, faults);
    this.chains.set(subject, { head, began: known?.began ?? first.at, at: last.at, stream, broken: false });
    return head.seq > from.seq;
  }

  private broke(subject: string, known: Chain | undefined, faults: Fault[]): false {
    const empty = { head: genesis(subject), began: 0, at: 0, stream: 0 };
    this.chains.set(subject, { ...(known ?? empty), broken: true });
    this.options.warn(subject, faults);
    return false;
  }
}
