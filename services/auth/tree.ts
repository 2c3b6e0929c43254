// Owns derivation: which grants came from which, and what a child may have. Pure.
import { SomaError } from "../../kernel/abi/errors.ts";
import { isGrantable } from "../../kernel/abi/syscall.ts";
import { syscall } from "../../kernel/abi/syscalls.ts";
import type { Grant } from "../../kernel/ipc/grants.ts";
import { type Budget, type Caveats, type Limit, narrow } from "./caveats.ts";

/** How often a grant that a person gives may be handed on: to a child, to its child, ... */
export const DEPTH = 3;

export interface Wanted {
  calls: readonly string[];
  caveats: Caveats;
  expiresMs?: number;
}

/** What a grant allows. */
export type Rights = Pick<Grant, "calls" | "caveats" | "expiresAt" | "depth">;

/** Of a grant that comes from a person. `now` in unix ms. */
export function rootRights({ calls, caveats, expiresMs }: Wanted, now: number): Rights {
  return { calls: checkCalls(calls), caveats, expiresAt: expiry(expiresMs, now), depth: DEPTH };
}

/** Of a child: never more than its parent has. EPERM names what is missing, and how to get it. */
export function childRights(parent: Grant, wanted: Wanted, now: number): Rights {
  if (parent.depth === 0) {
    const why = `the grant of "${parent.holder}" may be handed on no further`;
    throw new SomaError("EPERM", `${why}: ask whoever gave it for a second one`);
  }
  const calls = checkCalls(wanted.calls);
  const missing = calls.filter((call) => !parent.calls.includes(call));
  if (missing.length > 0) {
    const fix = `soma app grant ${parent.holder} ${missing.map((call) => `--call ${call}`).join(" ")}`;
    throw new SomaError("EPERM", `"${parent.holder}" lacks ${missing.join(", ")}, so it cannot hand them on: ${fix}`);
  }
  // Whoever sees what others do was chosen by a person.
  const seeing = calls.filter((call) => syscall(...(call.split(".") as [string, string]))?.right === "viewer");
  if (seeing.length > 0)
    throw new SomaError(
      "EPERM",
      `${seeing.join(", ")} shows what others do, and only a person gives that: leave it out`,
    );
  const own = expiry(wanted.expiresMs, now);
  const expiresAt =
    own === null || parent.expiresAt === null ? (own ?? parent.expiresAt) : Math.min(own, parent.expiresAt);
  return { calls, caveats: narrow(parent.caveats, wanted.caveats), expiresAt, depth: parent.depth - 1 };
}

/** The grant `id` with all that came from it, parents before children. */
export function family(grants: Iterable<Grant>, id: string): Grant[] {
  const all = [...grants];
  const found = all.filter((grant) => grant.id === id);
  // Grows while it is walked.
  for (const { id: parent } of found) found.push(...all.filter((grant) => grant.parent === parent));
  return found;
}

/** What of a budget the holder may spend itself: its amount less what its children took. */
export function ownLimit(grants: Iterable<Grant>, grant: Grant, budget: Budget): Limit | undefined {
  const limit = grant.caveats[budget];
  if (limit === undefined) return undefined;
  let amount = limit.amount;
  for (const child of grants) if (child.parent === grant.id) amount -= child.caveats[budget]?.amount ?? 0;
  return { ...limit, amount };
}

/** EINVAL for a call that does not exist or that no app can hold. Each once, in the order given. */
export function checkCalls(calls: readonly string[]): string[] {
  for (const name of calls) {
    const [owner = "", call = ""] = name.split(".");
    const right = syscall(owner, call)?.right;
    if (right === undefined) throw new SomaError("EINVAL", `there is no call ${name}: see "soma help syscalls"`);
    if (!isGrantable(right))
      throw new SomaError("EINVAL", `no app can hold ${name}, it is for a ${right}: leave it out`);
  }
  return [...new Set(calls)];
}

/** Whole seconds, as in the broker's JWTs, so that both end together. */
function expiry(ms: number | undefined, now: number): number | null {
  if (ms === undefined) return null;
  if (ms < 1_000) throw new SomaError("EINVAL", "a grant lasts for a second at least: give expiresMs of 1000 or more");
  return Math.floor((now + ms) / 1_000) * 1_000;
}
