// Owns the order of grants: what it means that one allows no more than another. Pure.
import type { z } from "zod";
import { SomaError } from "../../kernel/abi/errors.ts";
import type { caveats as schema } from "../../kernel/abi/syscalls/auth.ts";

export type Caveats = z.output<typeof schema>;
/** What is spent, so that a child's share must be taken from its parent's. */
export const BUDGETS = ["tokens", "deviceMs"] as const;
export type Budget = (typeof BUDGETS)[number];
export type Limit = NonNullable<Caveats[Budget]>;

/** Numbers of which a child may have no more than its parent; one that it does not name it gets from its parent. */
const CEILINGS = ["maxTokens", "concurrency"] as const;

/**
 * The caveats of a child that asks for `wanted`: never weaker than its parent's. EPERM where it asks for more, EINVAL where
 * it must say how much of a budget it takes. Whether so much is left is for the ledger to say.
 */
export function narrow(parent: Caveats, wanted: Caveats): Caveats {
  const caveats: Caveats = { ...parent, ...wanted };
  if (parent.models !== undefined) caveats.models = narrowModels(parent.models, wanted.models ?? parent.models);
  for (const name of CEILINGS) {
    const [most, asked] = [parent[name], caveats[name]];
    if (most !== undefined && asked !== undefined && asked > most) throw tooMuch(name, asked, most);
  }
  // Without one, a share counts once.
  if ((wanted.weight ?? 0) > (parent.weight ?? 1)) throw tooMuch("weight", wanted.weight!, parent.weight ?? 1);
  for (const name of BUDGETS) checkBudget(name, parent[name], wanted[name]);
  // Who has to have its prompts stored cannot have a child that has not.
  if (parent.storePrompts) caveats.storePrompts = true;
  return caveats;
}

/** `tiny` covers `tiny@3`. */
export function coversModel(models: readonly string[], model: string): boolean {
  return models.includes(model) || models.includes(model.split("@")[0]!);
}

function narrowModels(parent: readonly string[], wanted: readonly string[]): string[] {
  const extra = wanted.filter((model) => !coversModel(parent, model));
  if (extra.length === 0) return [...wanted];
  throw new SomaError("EPERM", `models ${extra.join(", ")} are not yours to hand on: choose from ${parent.join(", ")}`);
}

function checkBudget(name: Budget, parent: Limit | undefined, wanted: Limit | undefined): void {
  if (parent === undefined) return;
  const next = `name ${name} {amount, windowMs: ${parent.windowMs}}`;
  if (wanted === undefined) throw new SomaError("EINVAL", `what a child spends is taken from its parent: ${next}`);
  if (wanted.windowMs !== parent.windowMs)
    throw new SomaError("EINVAL", `the window of a child's budget is that of its parent's: ${next}`);
  if (wanted.amount > parent.amount) throw tooMuch(name, wanted.amount, parent.amount);
}

function tooMuch(name: string, asked: number, most: number): SomaError {
  return new SomaError("EPERM", `${name} ${asked} is more than you may hand on: ask for ${most} at most`);
}
