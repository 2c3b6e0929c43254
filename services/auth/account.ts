// Owns what one grant has spent and leased: reserve first, settle after. Pure; times in unix ms, amounts in tokens and device ms.
import { SomaError } from "../../kernel/abi/errors.ts";
import { BUDGETS, type Budget, type Limit } from "./caveats.ts";

export type Amounts = Record<Budget, number>;

export interface Lease extends Amounts {
  /** Then it returns by itself: whoever took it has died. */
  until: number;
}

export interface Account {
  /** Of the window that began at `since`. */
  spent: Record<Budget, { since: number; amount: number }>;
  leases: Record<string, Lease>;
  /** Revoked children whose spending was taken over, so that a repeat after a crash takes it over once. */
  absorbed: string[];
}

export type Limits = Partial<Record<Budget, Limit>>;

/** A slice is used within seconds, then the next is leased. */
export const LEASE_MS = 60_000;
/** A returned lease is remembered for so long, to charge one that settles late all the same. */
const LATE_MS = 10 * 60_000;
const REPEATED = 64;

export function emptyAccount(): Account {
  return { spent: { tokens: { since: 0, amount: 0 }, deviceMs: { since: 0, amount: 0 } }, leases: {}, absorbed: [] };
}

/** When the window that holds `now` began. All windows of a length begin together, so that parent and child agree. */
function windowStart({ windowMs }: Limit, now: number): number {
  return Math.floor(now / windowMs) * windowMs;
}

/** Spent in the window that holds `now`. */
export function spent(account: Account, budget: Budget, limit: Limit, now: number): number {
  const { since, amount } = account.spent[budget];
  return since === windowStart(limit, now) ? amount : 0;
}

/** Set aside: a lease counts until it is settled or returns, whatever window it began in. */
export function leased(account: Account, budget: Budget, now: number): number {
  let total = 0;
  for (const lease of Object.values(account.leases)) if (lease.until > now) total += lease[budget];
  return total;
}

/** Spent in this window, with what is leased. */
export function used(account: Account, budget: Budget, limit: Limit, now: number): number {
  return spent(account, budget, limit, now) + leased(account, budget, now);
}

/** What may be leased now. */
export function left(account: Account, budget: Budget, limit: Limit, now: number): number {
  return Math.max(0, limit.amount - used(account, budget, limit, now));
}

/** When the window ends, in unix ms. */
export function resetsAt(limit: Limit, now: number): number {
  return windowStart(limit, now) + limit.windowMs;
}

/**
 * Leases what is wanted, or what is left of it; a lease that is there already is changed and renewed, so that asking again
 * does no harm. EDQUOT when less than `least` is left, or nothing of a budget that is wanted: who, how much, until when.
 */
export function reserve(
  account: Account,
  limits: Limits,
  { id, wanted, least, holder }: { id: string; wanted: Amounts; least: Amounts; holder: string },
  now: number,
): { account: Account; lease: Lease } {
  const { [id]: _, ...leases } = account.leases;
  const others = { ...account, leases };
  const lease: Lease = { ...wanted, until: now + LEASE_MS };
  for (const budget of BUDGETS) {
    const limit = limits[budget];
    if (limit === undefined || wanted[budget] === 0) continue;
    lease[budget] = Math.min(wanted[budget], left(others, budget, limit, now));
    const short = Math.max(1, least[budget]) - lease[budget];
    if (short > 0) throw overdrawn(holder, budget, limit, account, short, now);
  }
  return { account: { ...account, leases: { ...leases, [id]: lease } }, lease };
}

function overdrawn(
  holder: string,
  budget: Budget,
  limit: Limit,
  account: Account,
  short: number,
  now: number,
): SomaError {
  const { unit, option, of } = WORDS[budget];
  const [all, aside, reset] = [used(account, budget, limit, now), leased(account, budget, now), resetsAt(limit, now)];
  const per = windowName(limit.windowMs);
  const what = `"${holder}" has used ${of(all)} of its ${of(limit.amount)} ${unit} per ${per}`;
  const why = aside > 0 ? ` (${of(aside)} of them set aside for calls that run)` : "";
  const raise = `soma app grant ${holder} ${option} ${of(2 * (limit.amount + short))}/${per} ...`;
  const next = `wait until ${new Date(reset).toISOString()}, or raise it: ${raise}`;
  return new SomaError("EDQUOT", `${what}${why} and lacks ${of(short)} more: ${next}`, { retryAfterMs: reset - now });
}

/** How each budget is spoken of, and given. */
const WORDS: Record<Budget, { unit: string; option: string; of: (amount: number) => number }> = {
  tokens: { unit: "tokens", option: "--tokens", of: (amount) => amount },
  deviceMs: { unit: "device-seconds", option: "--device-seconds", of: (amount) => Math.ceil(amount / 100) / 10 },
};

function windowName(ms: number): string {
  const names: Record<number, string> = { 60000: "minute", 3600000: "hour", 86400000: "day" };
  return names[ms] ?? `${ms / 1_000}s`;
}

/** Charges what was used of a lease and ends it, even if it had returned. Nothing happens when it is settled already. */
export function settle(account: Account, id: string, amounts: Amounts, limits: Limits, now: number): Account {
  if (!Object.hasOwn(account.leases, id)) return account;
  const { [id]: _, ...leases } = account.leases;
  return charge({ ...account, leases }, amounts, limits, now);
}

/** Takes over what a revoked child and its own children have used, since their share returns to this one. Once only. */
export function absorb(account: Account, child: string, amounts: Amounts, limits: Limits, now: number): Account {
  if (account.absorbed.includes(child)) return account;
  // Only a revocation that a crash cut short is ever repeated, at the next start.
  const absorbed = [...account.absorbed, child].slice(-REPEATED);
  return { ...charge(account, amounts, limits, now), absorbed };
}

/** Without what no longer matters: leases long returned. The same account when there is none. */
export function prune(account: Account, now: number): Account {
  const kept = Object.entries(account.leases).filter(([, { until }]) => until + LATE_MS > now);
  if (kept.length === Object.keys(account.leases).length) return account;
  return { ...account, leases: Object.fromEntries(kept) };
}

function charge(account: Account, amounts: Amounts, limits: Limits, now: number): Account {
  const spent = { ...account.spent };
  for (const budget of BUDGETS) {
    const limit = limits[budget];
    if (limit === undefined) continue;
    const since = windowStart(limit, now);
    const before = spent[budget].since === since ? spent[budget].amount : 0;
    spent[budget] = { since, amount: before + amounts[budget] };
  }
  return { ...account, spent };
}
