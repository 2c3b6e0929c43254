import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Code, isSomaError } from "../../../kernel/abi/errors.ts";
import { allSyscalls } from "../../../kernel/abi/syscalls.ts";
import type { Grant } from "../../../kernel/ipc/grants.ts";
import { BUDGETS, type Caveats, coversModel } from "../../../services/auth/caveats.ts";
import { childRights, family, ownLimit, rootRights, type Wanted } from "../../../services/auth/tree.ts";

const NOW = 1_000_000_000;
const CALLS = allSyscalls().flatMap(([owner, call, { right }]) => (right === "app" ? [`${owner}.${call}`] : []));

function grantOf(change: Partial<Grant> = {}): Grant {
  return {
    id: "g1",
    parent: null,
    app: "tin",
    holder: "tin",
    publicKey: "U",
    calls: ["model.generate", "auth.derive"],
    caveats: {},
    revision: 1,
    issuedAt: NOW,
    expiresAt: null,
    depth: 3,
    ephemeral: false,
    ...change,
  };
}

function refusal(parent: Grant, wanted: Partial<Wanted>, code: Code, message: RegExp): void {
  try {
    childRights(parent, { calls: ["model.generate"], caveats: {}, ...wanted }, NOW);
  } catch (error) {
    if (!isSomaError(error)) throw error;
    assert.is(error.code, code);
    return assert.match(error.message, message);
  }
  assert.unreachable("it was not refused");
}

test("a refusal says which right is missing, and what to do", () => {
  const parent = grantOf();
  refusal(
    parent,
    { calls: ["memory.put", "model.generate"] },
    "EPERM",
    /lacks memory\.put.*soma app grant tin --call memory\.put/,
  );
  refusal(parent, { calls: ["kernel.shutdown"] }, "EINVAL", /no app can hold kernel\.shutdown/);
  refusal(parent, { calls: ["model.nothing"] }, "EINVAL", /no call model\.nothing/);
  refusal(grantOf({ depth: 0 }), {}, "EPERM", /no further/);
  const viewer = grantOf({ calls: ["kernel.audit", "device.inspect", "model.generate"] });
  refusal(viewer, { calls: [...viewer.calls] }, "EPERM", /^kernel\.audit, device\.inspect shows what others do/);
  refusal(parent, { expiresMs: 10 }, "EINVAL", /a second at least/);
  const narrow = grantOf({
    caveats: { models: ["tiny"], maxTokens: 5, tokens: { amount: 10, windowMs: 1000 }, weight: 2 },
  });
  const budget = { tokens: { amount: 10, windowMs: 1000 } };
  refusal(narrow, { caveats: { ...budget, models: ["tiny", "big"] } }, "EPERM", /models big.*choose from tiny/);
  refusal(narrow, { caveats: { ...budget, maxTokens: 6 } }, "EPERM", /maxTokens 6.*ask for 5 at most/);
  refusal(narrow, { caveats: { ...budget, weight: 3 } }, "EPERM", /weight 3/);
  refusal(narrow, { caveats: {} }, "EINVAL", /taken from its parent: name tokens \{amount, windowMs: 1000\}/);
  refusal(narrow, { caveats: { tokens: { amount: 10, windowMs: 999 } } }, "EINVAL", /windowMs: 1000/);
  refusal(narrow, { caveats: { tokens: { amount: 11, windowMs: 1000 } } }, "EPERM", /tokens 11/);
});

test("what a child does not name it has from its parent", () => {
  const parent = grantOf({
    caveats: { models: ["tiny"], maxTokens: 5, concurrency: 2, storePrompts: true },
    expiresAt: NOW + 5_000,
  });
  const child = childRights(parent, { calls: ["model.generate"], caveats: { storePrompts: false } }, NOW);
  assert.equal(child.caveats, { models: ["tiny"], maxTokens: 5, concurrency: 2, storePrompts: true });
  assert.is(child.expiresAt, NOW + 5_000);
  assert.is(child.depth, 2);
});

const few = <T>(items: readonly T[]) => fc.subarray([...items], { minLength: 1 });
const some = (max: number) => fc.integer({ min: 0, max });
const caveats: fc.Arbitrary<Caveats> = fc.record(
  {
    models: few(["tiny", "tiny@2", "big", "big@1", "default"]),
    maxTokens: some(6),
    concurrency: some(4),
    weight: fc.integer({ min: 1, max: 4 }),
    tokens: fc.record({ amount: some(8), windowMs: fc.constantFrom(1000, 60_000) }),
    deviceMs: fc.record({ amount: some(8), windowMs: fc.constant(1000) }),
    storePrompts: fc.boolean(),
  },
  { requiredKeys: [] },
);
const wanted: fc.Arbitrary<Wanted> = fc.record(
  { calls: few(CALLS.slice(0, 6)), caveats, expiresMs: fc.integer({ min: 1_000, max: 20_000 }) },
  { requiredKeys: ["calls", "caveats"] },
);

/** Whether `child` allows nothing that `parent` does not. Written anew here, field by field, as what a service would see. */
function within(child: Grant, parent: Grant): boolean {
  const [c, p] = [child.caveats, parent.caveats];
  const atMost = (a: number | undefined, b: number | undefined) => b === undefined || (a !== undefined && a <= b);
  return (
    child.calls.every((call) => parent.calls.includes(call)) &&
    (p.models === undefined || (c.models?.every((model) => coversModel(p.models!, model)) ?? false)) &&
    atMost(c.maxTokens, p.maxTokens) &&
    atMost(c.concurrency, p.concurrency) &&
    (c.weight ?? 1) <= (p.weight ?? 1) &&
    BUDGETS.every((budget) => {
      const [a, b] = [c[budget], p[budget]];
      return b === undefined || (a !== undefined && a.amount <= b.amount && a.windowMs === b.windowMs);
    }) &&
    (!p.storePrompts || c.storePrompts === true) &&
    (parent.expiresAt === null || (child.expiresAt !== null && child.expiresAt <= parent.expiresAt)) &&
    child.depth < parent.depth &&
    child.depth >= 0
  );
}

test("in 10,000 random trees a child never has more than its parent, and a family is all that came from its root", () => {
  let derived = 0;
  // Mostly what the parent has or less, so that most are given; now and then anything.
  const rarely = <T>(value: fc.Arbitrary<T>) =>
    fc.oneof({ arbitrary: fc.constant(undefined), weight: 4 }, { arbitrary: value, weight: 1 });
  const step = fc.record({ parent: fc.nat(), mask: fc.nat(), wild: rarely(wanted), change: rarely(caveats) });
  const steps = fc.array(step, { minLength: 1, maxLength: 8 });
  const wish = (parent: Grant, { mask, wild, change }: { mask: number; wild?: Wanted; change?: Caveats }): Wanted =>
    wild && !change
      ? wild
      : { calls: parent.calls.filter((_, i) => mask & (1 << i)), caveats: { ...parent.caveats, ...change } };
  fc.assert(
    fc.property(wanted, steps, (first, later) => {
      const root = grantOf({ ...rootRights(first, NOW), id: "g0" });
      const grants: Grant[] = [root, grantOf({ id: "stranger" })];
      for (const [i, step] of later.entries()) {
        const parent = grants[step.parent % grants.length]!;
        if (parent.id === "stranger") continue;
        try {
          grants.push(grantOf({ ...childRights(parent, wish(parent, step), NOW), id: `g${i + 1}`, parent: parent.id }));
          derived += 1;
        } catch (error) {
          if (!isSomaError(error)) throw error;
        }
      }
      const byId = new Map(grants.map((grant) => [grant.id, grant]));
      for (const grant of grants) if (grant.parent !== null && !within(grant, byId.get(grant.parent)!)) return false;
      const isBelow = ({ id, parent }: Grant, top: string): boolean =>
        id === top || (parent !== null && isBelow(byId.get(parent)!, top));
      return grants.every(({ id }) => {
        const found = family(grants, id).map((grant) => grant.id);
        const expected = grants.filter((grant) => isBelow(grant, id)).map((grant) => grant.id);
        return found[0] === id && found.length === expected.length && expected.every((one) => found.includes(one));
      });
    }),
    { numRuns: 10_000 },
  );
  assert.ok(derived > 5_000, `only ${derived} grants were derived: the test looks at too little`);
});

test("what children took of a budget their parent has no more", () => {
  const limit = (amount: number) => ({ tokens: { amount, windowMs: 1000 } });
  const grants = [
    grantOf({ id: "a", caveats: limit(100) }),
    grantOf({ id: "b", parent: "a", caveats: limit(30) }),
    grantOf({ id: "c", parent: "a", caveats: limit(20) }),
    grantOf({ id: "d", parent: "b", caveats: limit(30) }),
  ];
  assert.equal(
    grants.map((grant) => ownLimit(grants, grant, "tokens")?.amount),
    [50, 0, 20, 30],
  );
  assert.is(ownLimit(grants, grants[0]!, "deviceMs"), undefined);
});

test.run();
