// Owns the rule of derivation: a child's grant is never more than its parent's. Pure.
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { caveats, grant } from "../../kernel/abi/syscalls/auth.ts";

export type Grant = z.output<typeof grant>;
export type Caveats = z.output<typeof caveats>;

/** Grants may be handed on this often. */
export const DEPTH = 8;

export interface Wish {
  calls: readonly string[];
  caveats: Caveats;
  expiresAt: number | null;
}

/** What a child gets: the wish, with the parent's limits where it names none. EPERM names the first thing that is too much. */
export function derive(parent: Grant, wish: Wish): Wish & { depth: number } {
  const tooMuch = (what: string) => new SomaError("EPERM", `"${parent.holder}" cannot hand on ${what}: ask for less`);
  if (parent.depth >= DEPTH) throw tooMuch(`a grant that was handed on ${DEPTH} times`);
  const held = new Set(parent.calls);
  const extra = wish.calls.find((call) => !held.has(call));
  if (extra !== undefined) throw tooMuch(`the right ${extra}, which it lacks`);
  const expiresAt = earliest(parent.expiresAt, wish.expiresAt);
  if (wish.expiresAt !== null && wish.expiresAt !== expiresAt) throw tooMuch("a grant that outlives its own");
  return {
    calls: [...wish.calls],
    caveats: narrow(parent.caveats, wish.caveats, tooMuch),
    expiresAt,
    depth: parent.depth + 1,
  };
}

function earliest(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.min(a, b);
}

function narrow(parent: Caveats, child: Caveats, tooMuch: (what: string) => SomaError): Caveats {
  const result: Caveats = { ...parent, ...child };
  if (parent.models && child.models?.some((model) => !parent.models!.includes(model)))
    throw tooMuch("a model that it may not use");
  for (const key of ["maxTokens", "concurrency", "weight"] as const) {
    if (parent[key] !== undefined && child[key] !== undefined && child[key] > parent[key])
      throw tooMuch(`more than its own ${key}`);
  }
  for (const key of ["tokens", "deviceMs"] as const) {
    const [most, asked] = [parent[key], child[key]];
    if (most && asked && asked.amount / asked.windowMs > most.amount / most.windowMs)
      throw tooMuch(`more than its own budget of ${key}`);
    if (most && asked && asked.amount > most.amount) throw tooMuch(`more than its own budget of ${key}`);
  }
  if (child.storePrompts && !parent.storePrompts) throw tooMuch("the storing of prompts");
  return result;
}

/** A grant and all that was derived from it. */
export function descendants(grants: Iterable<Grant>, root: Grant): Grant[] {
  const children = new Map<string, Grant[]>();
  for (const grant of grants) {
    if (grant.parent !== null) children.set(grant.parent, [...(children.get(grant.parent) ?? []), grant]);
  }
  const found = [root];
  for (const grant of found) found.push(...(children.get(grant.id) ?? []));
  return found;
}
