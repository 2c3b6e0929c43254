// Owns the accounts of all grants with a budget, and their copy in the bucket, which is written before anybody is answered.
import type { Bucket } from "../../kernel/ipc/store.ts";
import {
  type Account,
  type Amounts,
  absorb,
  emptyAccount,
  type Lease,
  type Limits,
  leased,
  left,
  prune,
  reserve,
  resetsAt,
  settle,
  spent,
  used,
} from "./account.ts";
import { BUDGETS, type Budget, type Limit } from "./caveats.ts";

const ACCOUNT = "spent.";

interface Standing {
  budget: Budget;
  spent: number;
  leased: number;
  left: number;
  /** Unix ms. */
  resetsAt: number;
}

/**
 * What is in memory is changed at once, so that concurrent callers see each other; it is answered when the bucket has it.
 * A crash in between loses at most leases and charges that nobody was told of.
 */
export class Ledger {
  private readonly accounts = new Map<string, Account>();
  private readonly writing = new Map<string, { again: boolean; done: Promise<void> }>();

  private constructor(
    private readonly kv: Bucket<unknown>,
    private readonly now: () => number,
  ) {}

  static async open(kv: Bucket<unknown>, now: () => number = Date.now): Promise<Ledger> {
    const ledger = new Ledger(kv, now);
    for (const { key, value } of await kv.entries(`${ACCOUNT}*`))
      ledger.accounts.set(key.slice(ACCOUNT.length), value as Account);
    return ledger;
  }

  /** Of grant `id`. */
  account(id: string): Account {
    return this.accounts.get(id) ?? emptyAccount();
  }

  /** `id`: of the lease, `<grant>.<name>`. `least`: EDQUOT when less is left. */
  async reserve(
    id: string,
    holder: string,
    limits: Limits,
    wanted: Amounts,
    least: Amounts = { tokens: 0, deviceMs: 0 },
  ): Promise<Lease> {
    const grant = grantOf(id);
    const { account, lease } = reserve(this.account(grant), limits, { id, wanted, least, holder }, this.now());
    await this.put(grant, account);
    return lease;
  }

  /** `limits`: those of the grant that the lease belongs to. */
  async settle(id: string, limits: Limits, amounts: Amounts): Promise<void> {
    const grant = grantOf(id);
    const before = this.account(grant);
    const after = settle(before, id, amounts, limits, this.now());
    if (after !== before) await this.put(grant, after);
  }

  /** What a grant has used of its budgets in this window. */
  used(grant: string, limits: Limits): Amounts {
    const of = (budget: Budget) => {
      const limit = limits[budget];
      return limit === undefined ? 0 : used(this.account(grant), budget, limit, this.now());
    };
    return { tokens: of("tokens"), deviceMs: of("deviceMs") };
  }

  /** How a grant stands with each of its budgets. */
  rows(grant: string, limits: Limits): (Pick<Limit, "amount" | "windowMs"> & Standing)[] {
    const [account, now] = [this.account(grant), this.now()];
    return BUDGETS.flatMap((budget) => {
      const limit = limits[budget];
      if (limit === undefined) return [];
      const amounts = { spent: spent(account, budget, limit, now), leased: leased(account, budget, now) };
      return [
        { budget, ...limit, ...amounts, left: left(account, budget, limit, now), resetsAt: resetsAt(limit, now) },
      ];
    });
  }

  /** Has `grant` take over what a revoked child, with its own children, used. */
  async absorb(grant: string, child: string, limits: Limits, amounts: Amounts): Promise<void> {
    const before = this.account(grant);
    const after = absorb(before, child, amounts, limits, this.now());
    if (after !== before) await this.put(grant, after);
  }

  /** Forgets the account of a grant that is no more. */
  async close(grant: string): Promise<void> {
    if (!this.accounts.delete(grant)) return;
    // Whoever waits for that write hears of its failure.
    await this.writing.get(grant)?.done.catch(() => {});
    this.writing.delete(grant);
    await this.kv.del(ACCOUNT + grant);
  }

  get size(): number {
    return this.accounts.size;
  }

  /** Resolves when the bucket holds this state or a later one; concurrent changes share a write. */
  private put(grant: string, account: Account): Promise<void> {
    this.accounts.set(grant, prune(account, this.now()));
    const running = this.writing.get(grant);
    if (running === undefined) return this.write(grant);
    // The write that runs may have taken an older state: one more follows it, for all that come meanwhile.
    if (running.again) return running.done;
    const done = running.done.catch(() => {}).then(() => this.write(grant));
    this.writing.set(grant, { again: true, done });
    return done;
  }

  private write(grant: string): Promise<void> {
    const account = this.accounts.get(grant);
    // Closed meanwhile.
    if (account === undefined) return Promise.resolve();
    const done = this.kv.put(ACCOUNT + grant, account).then(() => {});
    const entry = { again: false, done };
    this.writing.set(grant, entry);
    const forget = () => {
      if (this.writing.get(grant) === entry) this.writing.delete(grant);
    };
    done.then(forget, forget);
    return done;
  }
}

/** The grant that a lease belongs to. */
export function grantOf(lease: string): string {
  return lease.split(".")[0]!;
}
