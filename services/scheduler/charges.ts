// Owns what sequences are charged for quanta in advance, so that the picks of one quantum share it as the policy says; reports correct it.
import type { Accounts } from "./accounts.ts";
import { expected, type Sequence } from "./sequence.ts";
import type { Slot } from "./slot.ts";

export class Charges {
  private turns = 0;

  constructor(private readonly accounts: Accounts) {}

  /** Number of the next turn. */
  turn(): number {
    return this.turns++;
  }

  /** `steps`: that a quantum there is expected to have. Not while it is in an order. */
  charge(sequence: Sequence, steps: number): void {
    const { account } = sequence;
    const tokens = expected(sequence, steps);
    account.reach = Math.max(account.reach, sequence.served);
    sequence.charged.push(tokens);
    sequence.served += tokens;
    sequence.turn = this.turn();
    this.accounts.charge(account, tokens);
  }

  /** Takes the last charge back: the quantum is not handed over after all. Not while it is in an order. */
  refund(sequence: Sequence): void {
    const expected = sequence.charged.pop()!;
    sequence.served -= expected;
    this.accounts.charge(sequence.account, -expected);
  }

  /** It leaves, or its quanta are lost: what was charged in advance is given back. */
  settle(sequence: Sequence): void {
    const charged = sequence.charged.splice(0).reduce((a, b) => a + b, 0);
    sequence.served -= charged;
    this.accounts.charge(sequence.account, -charged);
  }

  /** What its oldest quantum computed replaces what was charged for it; its place among its siblings follows. */
  correct(sequence: Sequence, computed: number, slot: Slot | undefined): void {
    const there = slot?.ready.delete(sequence) ?? false;
    const correction = computed - (sequence.charged.shift() ?? 0);
    sequence.served += correction;
    this.accounts.charge(sequence.account, correction, computed);
    if (there) slot!.ready.add(sequence);
  }
}
