// Owns defects that are put into the product on purpose, from outside, so that the simulation can show that it finds them.
import { Registry } from "../../kernel/registry.ts";
import { Registrar } from "../../services/auth/registrar.ts";
import { Kv } from "../../services/device/kv.ts";
import { Radix } from "../../services/device/radix.ts";
import { Jobs } from "../../services/model/jobs.ts";
import { Board } from "../../services/scheduler/board.ts";
import type { Invariant } from "./invariants.ts";

interface Mutant {
  what: string;
  /** One of these is broken by it. */
  breaks: Invariant[];
  /** Whose method is replaced, and by what, given the true one. */
  of: { prototype: object };
  method: string;
  instead: (real: (...args: any[]) => any) => (this: any, ...args: any[]) => unknown;
}

let jobs = 0;

export const MUTANTS: Record<string, Mutant> = {
  "skip-fence": {
    what: "the key of a former instance stays good",
    breaks: ["late writes are refused", "no stale epoch writes"],
    of: Registry,
    method: "register",
    instead: (real) =>
      function (...args) {
        this.options.authority.revoke = () => {};
        return real.apply(this, args);
      },
  },
  overdraw: {
    what: "a child's budget is not looked for at its parent",
    breaks: ["no budget is overdrawn"],
    of: Registrar,
    method: "checkBudgets",
    instead: () => () => {},
  },
  "leak-blocks": {
    what: "KV blocks of a sequence that is over are not given back",
    breaks: ["all KV blocks come back", "devices hold no sequence that is over"],
    of: Kv,
    method: "close",
    instead: () => () => {},
  },
  "share-wrongly": {
    what: "a cached prefix is taken for another one",
    breaks: ["tokens are the same whatever happens", "no actor has a bug"],
    of: Radix,
    method: "child",
    instead: (real) =>
      function (node, ids) {
        return real.call(this, node, ids) ?? node.children.values().next().value;
      },
  },
  "two-jobs": {
    what: "a submission that comes again is another job",
    breaks: ["a key is one job"],
    of: Jobs,
    method: "submit",
    instead: (real) =>
      function (input, principal, key) {
        return real.call(this, input, principal, `${key}-${jobs++}`);
      },
  },
  "keep-seat": {
    what: "the scheduler forgets nobody whose request is over",
    breaks: ["the scheduler's board is empty"],
    of: Board,
    method: "remove",
    instead: () => () => undefined,
  },
};

/** Puts one in; the returned function takes it out again. */
export function mutate(name: string): () => void {
  const mutant = MUTANTS[name];
  if (mutant === undefined) throw new Error(`no mutant ${name}: use one of ${Object.keys(MUTANTS).join(", ")}`);
  const { prototype } = mutant.of as { prototype: Record<string, (...args: any[]) => any> };
  const real = prototype[mutant.method];
  if (real === undefined) throw new Error(`${name}: there is no method ${mutant.method} any more`);
  prototype[mutant.method] = mutant.instead(real);
  return () => {
    prototype[mutant.method] = real;
  };
}
