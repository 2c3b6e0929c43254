// Owns what each principal got: tokens computed for it and its virtual time (tokens / weight), after start-time fair queueing.
import { Heap } from "./heap.ts";
import type { Share } from "./policies.ts";

export interface Account extends Share {
  principal: string;
  weight: number;
  /** Tokens computed for it, prompts included. */
  tokens: number;
  /** Of these, before this instance started. A crash forgets some, so that only what was counted since never falls. */
  restored: number;
  /** Of what its virtual time counts, tokens that are still to be computed: some never will be. */
  ahead: number;
  /** Its sequences that wait or run. */
  active: number;
  /** Own virtual time of its sequence that was picked last: where a new one of its joins. */
  reach: number;
  /** How often one of its sequences gave its room up to another app, since this instance started. */
  preempted: number;
}

export interface SavedAccount {
  virtual: number;
  tokens: number;
  /** The system's virtual time. */
  floor: number;
}

export class Accounts {
  private readonly accounts = new Map<string, Account>();
  private readonly active = new Heap<Account>((a, b) => a.virtual < b.virtual);
  private floor = 0;

  /** `changed` is told whenever a virtual time moved, so that queues can follow. */
  constructor(
    private readonly weightOf: (principal: string) => number,
    private readonly changed: (account: Account) => void,
  ) {}

  values(): Iterable<Account> {
    return this.accounts.values();
  }

  get(principal: string): Account {
    let account = this.accounts.get(principal);
    if (account === undefined) {
      account = {
        principal,
        weight: this.weightOf(principal),
        virtual: 0,
        tokens: 0,
        restored: 0,
        ahead: 0,
        active: 0,
        reach: 0,
        preempted: 0,
      };
      this.accounts.set(principal, account);
    }
    return account;
  }

  /** What must outlive a crash of the scheduler. */
  saved({ virtual, tokens }: Account): SavedAccount {
    return { virtual, tokens, floor: this.now() };
  }

  restore(principal: string, { virtual, tokens, floor }: SavedAccount): void {
    Object.assign(this.get(principal), { virtual, tokens, restored: tokens });
    this.floor = Math.max(this.floor, floor);
  }

  /** A sequence arrived. Who had none does not keep what it left unused: it joins where the least served is now. */
  enter(principal: string): Account {
    const account = this.get(principal);
    account.weight = this.weightOf(principal);
    account.active += 1;
    if (account.active === 1) {
      account.virtual = Math.max(account.virtual, this.now());
      this.active.push(account);
      this.changed(account);
    }
    return account;
  }

  leave(account: Account): void {
    account.active -= 1;
    if (account.active > 0) return;
    this.floor = this.now();
    this.active.delete(account);
  }

  /** Counts tokens, at first as expected, then corrected by what came (negative). `real` ones count as computed as well. */
  charge(account: Account, tokens: number, real = 0): void {
    account.tokens += real;
    account.ahead += tokens - real;
    if (tokens === 0) return;
    account.virtual = Math.max(0, account.virtual + tokens / account.weight);
    if (account.active > 0) this.active.fix(account);
    this.changed(account);
  }

  /** The system's virtual time: the least of those that want something, as far as it was computed. */
  private now(): number {
    const { virtual, ahead, weight } = this.active.first ?? { virtual: 0, ahead: 0, weight: 1 };
    return Math.max(this.floor, virtual - ahead / weight);
  }
}
