// Owns the arithmetic of leased slices: what calls reserve of a slice before they run, and what they used in the end. Pure.

/** Tokens computed, and ms of a device. */
export interface Amounts {
  tokens: number;
  deviceMs: number;
}

/** Part of a grant's budget that auth leased ahead. Always spent + reserved <= held in tokens: nothing is overspent. */
export interface Slice {
  held: Amounts;
  /** By calls that are over. */
  spent: Amounts;
  /** The worst case of each call that is not. */
  reserved: Amounts;
  calls: number;
}

/** One call on its slice. */
export interface Call<S extends Slice = Slice> {
  slice: S;
  worst: Amounts;
  used: Amounts;
  /** Quanta at devices that may still compute for it. */
  flights: number;
  over: boolean;
}

export const ZERO: Amounts = { tokens: 0, deviceMs: 0 };

export function add(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens + b.tokens, deviceMs: a.deviceMs + b.deviceMs };
}

export function times(a: Amounts, n: number): Amounts {
  return { tokens: a.tokens * n, deviceMs: a.deviceMs * n };
}

export function most(a: Amounts, b: Amounts): Amounts {
  return { tokens: Math.max(a.tokens, b.tokens), deviceMs: Math.max(a.deviceMs, b.deviceMs) };
}

export function covers(a: Amounts, b: Amounts): boolean {
  return a.tokens >= b.tokens && a.deviceMs >= b.deviceMs;
}

/** What may be gone of it, whatever happens now. */
export function inUse({ spent, reserved }: Slice): Amounts {
  return add(spent, reserved);
}

export function emptySlice(held: Amounts): Slice {
  return { held, spent: ZERO, reserved: ZERO, calls: 0 };
}

export function fits(slice: Slice, worst: Amounts): boolean {
  return covers(slice.held, add(inUse(slice), worst));
}

/** Sets a call's worst case aside. */
export function begin<S extends Slice>(slice: S, worst: Amounts): Call<S> {
  slice.reserved = add(slice.reserved, worst);
  slice.calls += 1;
  return { slice, worst, used: ZERO, flights: 0, over: false };
}

/** A quantum that names the call goes to a device. */
export function depart(call: Call): void {
  call.flights += 1;
}

/** It is back, or lost: then nobody knows what it computed, and it is computed again. */
export function land(call: Call, computed: Amounts = ZERO): void {
  call.flights -= 1;
  call.used = add(call.used, computed);
  if (call.over && call.flights === 0) close(call);
}

/** The call has its outcome. It is charged once no device computes for it any more. */
export function end(call: Call): void {
  if (call.over) return;
  call.over = true;
  if (call.flights === 0) close(call);
}

/**
 * Never charged for more tokens than were reserved: what is computed twice, because a device died or gave its room to
 * others, is the system's affair. Device time is charged as measured: its worst case is an estimate.
 */
function close({ slice, worst, used }: Call): void {
  slice.reserved = add(slice.reserved, times(worst, -1));
  slice.spent = add(slice.spent, { tokens: Math.min(used.tokens, worst.tokens), deviceMs: used.deviceMs });
  slice.calls -= 1;
}
