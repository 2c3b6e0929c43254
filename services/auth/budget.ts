// Owns budgets: reserved first, then settled; a lease that is never settled counts as spent until its window ends. Pure.
import { SomaError } from "../../kernel/abi/errors.ts";
import type { Caveats } from "./derive.ts";

export const LEASE_MS = 60_000;
export type Unit = "tokens" | "deviceMs";
export type Amounts = Record<Unit, number>;

export interface Lease {
  id: string;
  holder: string;
  amounts: Amounts;
  expiresAt: number;
}

/** Of one holder: what was spent since the window of each unit began, and what is leased. */
export interface Account {
  since: Amounts;
  spent: Amounts;
  leases: Lease[];
}

const UNITS: readonly Unit[] = ["tokens", "deviceMs"];
export const fresh = (now: number): Account => ({
  since: { tokens: now, deviceMs: now },
  spent: { tokens: 0, deviceMs: 0 },
  leases: [],
});

/** The account as it stands now: windows begin anew, and leases that nobody settled are returned. */
export function roll(account: Account, caveats: Caveats, now: number): Account {
  const next = structuredClone(account);
  next.leases = next.leases.filter(({ expiresAt }) => expiresAt > now);
  for (const unit of UNITS) {
    const window = caveats[unit]?.windowMs;
    if (window === undefined || now - next.since[unit] < window) continue;
    next.since[unit] = now - ((now - next.since[unit]) % window);
    next.spent[unit] = 0;
  }
  return next;
}

/** Leases the amounts, or throws EDQUOT with when the window ends. */
export function reserve(account: Account, caveats: Caveats, lease: Lease, now: number): Account {
  const next = roll(account, caveats, now);
  for (const unit of UNITS) {
    const budget = caveats[unit];
    if (budget === undefined) continue;
    const leased = next.leases.reduce((sum, { amounts }) => sum + amounts[unit], 0);
    const left = budget.amount - next.spent[unit] - leased;
    if (lease.amounts[unit] <= left) continue;
    const retryAfterMs = Math.max(1, next.since[unit] + budget.windowMs - now);
    const what = `"${lease.holder}" has ${Math.max(0, left)} of ${budget.amount} ${unit} left`;
    throw new SomaError("EDQUOT", `${what}, and asked for ${lease.amounts[unit]}: ask for less, or wait`, {
      retryAfterMs,
    });
  }
  next.leases.push(lease);
  return next;
}

/** Spends what was used of a lease, never more than was leased; the rest returns. An unknown lease was settled or has expired. */
export function settle(account: Account, id: string, used: Amounts): Account {
  const lease = account.leases.find((other) => other.id === id);
  if (lease === undefined) return account;
  const next = structuredClone(account);
  next.leases = next.leases.filter((other) => other.id !== id);
  for (const unit of UNITS) next.spent[unit] += Math.min(used[unit], lease.amounts[unit]);
  return next;
}
